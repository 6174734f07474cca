# %% [markdown]
# # Full supervision and data efficiency
#
# The standard protocol of the field, training on 80 % of a database and testing on 20 %, and training on a share of
# those labels. Published numbers are included where they could be read.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml
protocol: str = ""  # of params.yaml; empty: the first one of run.full
shots: list[str] = []  # shares of the training set, as in 20pct; empty: those of params.yaml

# %%
from grmp.report import NotebookPage, comparisons, few_shot

page = NotebookPage("full_supervision", root, protocol)
grid = page.results.params.run.full
page = page if protocol else NotebookPage("full_supervision", root, next(iter(grid.protocols), ""))
shots = shots or grid.shots
empty = "The grid run.full of params.yaml is empty."

# %% [markdown]
# ## Scores

# %%
for metric in ("srcc", "plcc"):
    table = few_shot.score_table(page.results, "full", shots, [metric])
    page.table(f"scores_{metric}", table, f"{metric.upper()}. {empty}", "sweep")
page.table("shared", few_shot.shared_table(page.results, "full", shots))
page.table("pairs", comparisons.answer_table(page.results, "full"))

# %% [markdown]
# ## Data efficiency
#
# Drawn if params.yaml asks for more than one share of the labels.

# %%
if len(shots) > 1:
    page.figure(
        "data_efficiency",
        few_shot.curves(page.results, "full", shots),
        "SRCC for each labelled share of the training set: median over splits with its interval, every split a dot. Stars and "
        "dashes, where there are any: published numbers, with other splits, images and backbones.",
        alt="One panel per database: SRCC by share of labels, one marker per method; the table above lists the values.",
        stage="sweep",
    )
