# %% [markdown]
# # Predicted against given quality
#
# One split's test pictures: the score that each method gives against the opinion, with the four-parameter logistic fit
# through which PLCC and RMSE are taken. Scores of a softmax may keep to a narrow band; only their order counts for SRCC.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one
methods: list[str] = []  # at most five fit a page; empty: the first and the last four of params.yaml
shots: int = 0  # number of labelled pictures; 0: the largest of params.yaml
split: int = 0  # which split
method: str = "grmp"  # whose failures are shown
pictures: int = 6  # failures of each database

# %%
from grmp.report import NotebookPage, figures, predictions, tables

page = NotebookPage("predictions", root, protocol)
run = page.results.grid
methods = methods or (run.methods if len(run.methods) <= 5 else run.methods[:1] + run.methods[-4:])
label = page.results.params.methods[method].label
shots = shots or max(run.shots)

# %%
page.figure(
    "scatter",
    figures.scatter(page.results, methods, shots, split),
    f"Predicted against given quality, test pictures of split {split}, {shots} labels; the line is the logistic fit.",
    alt=f"Scatter plots, one row per database, one column per method: {', '.join(methods)}. Each panel names its SRCC.",
    stage="sweep",
)

# %%
page.table("measures", tables.measures(page.results, methods, shots))

# %% [markdown]
# ## The largest failures
#
# Predictions are put on the scale of quality by each split's own fit; a picture that several splits test counts with their
# mean.

# %%
page.figure(
    "failures",
    predictions.failures(page.results, method, run.databases, shots, pictures),
    f"{label}: the test pictures furthest from their opinion, {shots} labels. Below each: what was "
    "predicted for what opinion, both in [0, 1].",
    alt="One row of pictures per database, judged too high on the left half, too low on the right half.",
    stage="sweep",
)

# %% [markdown]
# ## Do splits agree?
#
# A picture that stands on the test side of several splits is judged by several models, each adapted to other labelled pictures.

# %%
page.table("agreement", predictions.agreement_table(page.results, methods, run.databases, shots))

# %%
page.figure(
    "agreement",
    predictions.agreement(page.results, method, run.databases, shots),
    f"{label}: least to greatest prediction of each picture that several splits test (line) and "
    "their mean (dot), against opinion.",
    alt="One panel per database: predicted against given quality, one vertical line per picture.",
    stage="sweep",
)
