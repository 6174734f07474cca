# %% [markdown]
# # What it costs
#
# Accuracy against what is trained and how long it takes. Times are those of the machine at hand; they say more of the order of
# methods than of their size.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one
shots: int = 0  # number of labelled pictures; 0: the largest of params.yaml

# %%
from grmp.report import NotebookPage, cost

page = NotebookPage("cost", root, protocol)
shots = shots or max(page.results.grid.shots)

# %%
page.table("cost", cost.cost_table(page.results))

# %%
page.figure(
    "cost",
    cost.cost_figure(page.results, shots),
    f"Median SRCC after {shots} labels against the number of trained values and against the seconds that a split takes.",
    alt="Two rows of panels, one column per database, one marker per method; the tables hold the numbers.",
    stage="sweep",
)
