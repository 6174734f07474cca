# %% [markdown]
# # Cross-database evaluation
#
# Training on one database and testing on all images of another.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml
protocol: str = ""  # of params.yaml; empty: the first one

# %%
from grmp.report import NotebookPage, comparisons, cross_dataset, few_shot
from grmp.report.table import amount

page = NotebookPage("cross_dataset", root, protocol)
grid = page.results.params.run.cross
what, stage = "Scores across databases (run.cross).", "sweep" if grid.databases and grid.methods else ""

# %%
if grid.shots:
    page.table("matrix", cross_dataset.matrix(page.results, grid.shots[-1]), what, stage)

# %% [markdown]
# ## With published numbers

# %%
page.table("scores", few_shot.score_table(page.results, "cross", grid.shots), what, stage)
page.table("pairs", comparisons.answer_table(page.results, "cross"))

# %%
if len(grid.databases) > 1:
    page.figure(
        "transfer",
        cross_dataset.transfer(page.results),
        f"SRCC on the other database with {amount(grid.shots[-1])} labels: median over training sets with its "
        "interval, every training set a dot.",
        alt="One shaded group per pair of databases, one marker per method; the table above lists the values.",
        stage="sweep",
    )
