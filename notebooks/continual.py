# %% [markdown]
# # One database after another
#
# A model learns a few labels of one database, then of the next. After each step it is tested on all databases so far:
# does it learn the new one, and does it keep the old ones?

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml

# %%
from grmp.report import NotebookPage, continual

page = NotebookPage("continual", root)
stage = "continual" if page.results.params.continual.sequence else ""

# %%
page.table("measures", continual.summary(page.results), "Continual learning (continual.sequence).", stage)

# %%
over = ": median over splits, every split a dot" if page.results.params.continual.splits > 1 else ""
page.figure(
    "curves",
    continual.curves(page.results),
    f"SRCC on each database (panels) after each step{over}.",
    alt="One panel per database: SRCC after each step, one line per strategy; the table above summarises them.",
    stage=stage,
)
