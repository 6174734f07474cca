# %% [markdown]
# # What it costs
#
# Accuracy against what is trained and how long it takes. Times are those of the machine at hand; they say more of the order of
# methods than of their size.

# %% tags=["parameters"]
world: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one
shots: int = 0  # number of labelled pictures; 0: the largest of params.yaml

# %%
from grmp.report import Sheet, cost

sheet = Sheet("cost", world, protocol)
shots = shots or max(sheet.world.grid.shots)

# %%
sheet.table("cost", cost.cost_table(sheet.world))

# %%
sheet.figure(
    "cost",
    cost.cost_figure(sheet.world, shots),
    f"Median SRCC after {shots} labels against the number of trained values and against the seconds that a split takes.",
    alt="Two rows of panels, one column per database, one marker per method; the tables hold the numbers.",
    stage="sweep",
)
