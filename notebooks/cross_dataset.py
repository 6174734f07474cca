# %% [markdown]
# # Across databases
#
# Trained on one database, tested on every picture of another: what is learned there that holds elsewhere.

# %% tags=["parameters"]
world: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one

# %%
from grmp.report import Sheet, scores, transfer

sheet = Sheet("cross_dataset", world, protocol)
grid = sheet.world.params.run.cross
empty = "Training on one database and testing on another: the grid run.cross of params.yaml is empty."

# %%
for shots in grid.shots[-1:]:
    sheet.table("matrix", transfer.matrix(sheet.world, shots), empty, "cross")

# %% [markdown]
# ## With published numbers

# %%
sheet.table("scores", scores.score_table(sheet.world, "cross", grid.shots), empty, "cross")

# %%
sheet.figure(
    "transfer",
    transfer.pairs_figure(sheet.world),
    "SRCC on the other database: median over training sides with its interval, every training side a dot.",
    alt="One group per pair of databases, one marker per method; the table above holds the numbers.",
    stage="sweep",
)
