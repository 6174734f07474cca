# %% [markdown]
# # All labels, and shares of them
#
# The usual protocol of the field: train on 80 % of a database, test on 20 %; and how much of that is left with a part of
# those labels. Published numbers stand beside ours where they could be read.

# %% tags=["parameters"]
world: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: the first one of the grid
shots: list[str] = []  # shares of the training side, as in 20pct; empty: those of params.yaml

# %%
from grmp.report import Sheet, scores

sheet = Sheet("full_supervision", world, protocol)
shots = shots or sheet.world.params.run.full.shots
empty = "Scores on shares of the training side: the grid run.full of params.yaml is empty."

# %% [markdown]
# ## Scores

# %%
for metric in ("srcc", "plcc"):
    sheet.table(
        f"scores_{metric}",
        scores.score_table(sheet.world, "full", shots, [metric]),
        f"{metric.upper()}. {empty}",
        "full",
    )

# %% [markdown]
# ## How much a share of the labels is worth

# %%
sheet.figure(
    "data_efficiency",
    scores.curves(sheet.world, "full", shots),
    "SRCC against the share of the training side that is labelled: median over splits with its interval, every split a dot.",
    alt="One panel per database: SRCC against the share of labels, one line per method; the table above holds the numbers.",
    stage="sweep",
)
