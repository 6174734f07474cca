# %% [markdown]
# # Distortion by distortion
#
# Databases with distortion types tell what kind of damage a method sees, and whether it orders pictures that are all
# damaged alike.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one
methods: list[str] = []  # at most six fit; empty: zero-shot, GRMP-IQA, and that without its parts
shots: int = 0  # number of labelled pictures; 0: the largest of params.yaml

# %%
from grmp.report import NotebookPage, ablation, distortions

page = NotebookPage("distortions", root, protocol)
corners = ablation.corners(page.results, "grmp")
first = [name for name in page.results.grid.methods if page.results.params.methods[name].kind == "zero_shot"]
methods = methods or first + [corners[c] for c in ("neither", "no qgr", "both") if c in corners]
shots = shots or max(k for k in page.results.grid.shots if isinstance(k, int))
pair = (corners["no qgr"], corners["neither"]) if {"no qgr", "neither"} <= set(corners) else None
pair = pair if pair and set(pair) <= set(methods) else None

# %%
page.figure(
    "heat_map",
    distortions.heat_map(page.results, methods, shots),
    f"SRCC on the test pictures of one distortion type, median over splits, {shots} labels; light is high.",
    alt="A heat map per database, one row per distortion type, one column per method; each cell holds its number.",
    stage="sweep collect",
)

# %%
page.table("distortions", distortions.distortion_table(page.results, methods, shots, pair))

# %% [markdown]
# ## Level by level
#
# Among the pictures of one level the types and the contents differ, the strength does not, so there is less to order by.

# %%
page.figure(
    "levels",
    distortions.by_level(page.results, methods, shots),
    f"SRCC among the test pictures of one level, {shots} labels; every split a dot, the marker their median.",
    alt="One panel per database: SRCC against the level of distortion, one line per method.",
    stage="sweep collect",
)
