# %% [markdown]
# # Across databases
#
# Trained on one database, tested on every picture of another: what is learned there that holds elsewhere.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one

# %%
from grmp.report import NotebookPage, scores, transfer

page = NotebookPage("cross_dataset", root, protocol)
grid = page.results.params.run.cross
empty = "Training on one database and testing on another: the grid run.cross of params.yaml is empty."

# %%
for shots in grid.shots[-1:]:
    page.table("matrix", transfer.matrix(page.results, shots), empty, "cross")

# %% [markdown]
# ## With published numbers

# %%
page.table("scores", scores.score_table(page.results, "cross", grid.shots), empty, "cross")

# %%
page.figure(
    "transfer",
    transfer.pairs_figure(page.results),
    "SRCC on the other database: median over training sides with its interval, every training side a dot.",
    alt="One group per pair of databases, one marker per method; the table above holds the numbers.",
    stage="sweep",
)
