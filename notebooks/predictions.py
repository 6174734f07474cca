# %% [markdown]
# # Predicted against given quality
#
# One split's test pictures: the score that each method gives against the opinion, with the four-parameter logistic fit
# through which PLCC and RMSE are taken. Scores of a softmax may keep to a narrow band; only their order counts for SRCC.

# %% tags=["parameters"]
world: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one
methods: list[str] = []  # at most five fit a page; empty: the first and the last four of params.yaml
shots: int = 0  # number of labelled pictures; 0: the largest of params.yaml
split: int = 0  # which split

# %%
from grmp.report import Sheet, figures, tables

sheet = Sheet("predictions", world, protocol)
run = sheet.world.grid
methods = methods or (run.methods if len(run.methods) <= 5 else run.methods[:1] + run.methods[-4:])
shots = shots or max(run.shots)

# %%
sheet.figure(
    "scatter",
    figures.scatter(sheet.world, methods, shots, split),
    f"Predicted against given quality, test pictures of split {split}, {shots} labels; the line is the logistic fit.",
    alt=f"Scatter plots, one row per database, one column per method: {', '.join(methods)}. Each panel names its SRCC.",
    stage="adapt",
)

# %%
sheet.table("measures", tables.measures(sheet.world, methods, shots))
