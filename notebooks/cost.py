# %% [markdown]
# # Cost
#
# Accuracy against trained parameters and time. Times depend on the machine; compare methods with each other only.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml
protocol: str = ""  # of params.yaml; empty: the first one
shots: int = 0  # number of labelled images; 0: the largest of params.yaml

# %%
from grmp.report import NotebookPage, cost

page = NotebookPage("cost", root, protocol)
shots = shots or max(page.results.grid.shots, default=0)

# %%
page.table("cost", cost.cost_table(page.results))

# %%
page.figure(
    "cost",
    cost.cost_figure(page.results, shots),
    f"Median SRCC with {shots} labels against the number of trained parameters and the time per split, with intervals. "
    "Markers that would overlap are moved apart; strokes on the axis stand at the values themselves.",
    alt="One panel per kind of cost and database, one marker per method; the tables list the values.",
    stage="sweep",
)
