# %% [markdown]
# # Predictions for single images
#
# Ratings against scores on the test images of one split, with the four-parameter logistic fit after which PLCC and
# RMSE are taken.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml
protocol: str = ""  # of params.yaml; empty: the first one
methods: list[str] = []  # at most five; empty: the first, `method` and the last ones of params.yaml
shots: int = 0  # number of labelled images; 0: the largest of params.yaml
split: int = 0  # the split shown
method: str = "grmp"  # the method whose failures are shown
images: int = 6  # failures per database

# %%
from grmp.report import NotebookPage, predictions

page = NotebookPage("predictions", root, protocol)
run = page.results.grid
others = [name for name in run.methods[1:] if name != method]
methods = methods or [name for name in run.methods if name not in others[: max(0, len(run.methods) - 5)]]
label = page.results.label(method)
shots = shots or max(run.shots, default=0)

# %%
page.figure(
    "scatter",
    predictions.scatter(page.results, methods, shots, split),
    f"Ratings, scaled to [0, 1], against predicted quality: test images of split {split}, {shots} labels. The line is the "
    "logistic fit.",
    alt="Scatter plots, one row per database, one column per method. Each panel states its SRCC.",
    stage="sweep",
)

# %%
page.table("measures", predictions.measures(page.results, methods, shots))

# %% [markdown]
# ## Largest errors
#
# Predictions are mapped to the scale of the ratings by each split's own fit; for an image in several test sets, their
# mean is used.

# %%
page.figure(
    "failures",
    predictions.failures(page.results, method, run.databases, shots, images),
    f"{label}: the test images with the largest errors, {shots} labels. Below each: predicted and actual quality in [0, 1].",
    alt="One row of images per database, overestimated in the left half, underestimated in the right half.",
    stage="sweep",
)

# %% [markdown]
# ## Agreement between splits
#
# An image in the test sets of several splits is scored by several models, each fine-tuned with other labelled images.

# %%
page.table("agreement", predictions.agreement_table(page.results, methods, run.databases, shots))

# %%
page.figure(
    "agreement",
    predictions.agreement(page.results, method, run.databases, shots),
    f"{label}: range of the predictions for each image in several test sets (line) and their mean (dot) against its rating.",
    alt="One panel per database: predicted against actual quality, one vertical line per image.",
    stage="sweep",
)
