# %% [markdown]
# # Scores by distortion type
#
# In databases with distortion labels: how well each method ranks images of one distortion type, and images of one
# distortion level.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml
protocol: str = ""  # of params.yaml; empty: the first one
methods: list[str] = []  # at most six; empty: zero-shot, GRMP-IQA, and GRMP-IQA without its parts
shots: int = 0  # number of labelled images; 0: the largest of params.yaml

# %%
from grmp.report import NotebookPage, distortions

page = NotebookPage("distortions", root, protocol)
params, grid = page.results.params, page.results.grid
pair = next(((part.method, part.against) for part in params.report.parts), ())
first = [name for name in grid.methods if params.methods[name].kind == "zero_shot"]
methods = methods or [name for name in dict.fromkeys((*first, *reversed(pair), "grmp")) if name in params.methods]
shots = shots or max((k for k in grid.shots if isinstance(k, int)), default=0)
pair = pair if pair and set(pair) <= set(methods) else None

# %%
page.figure(
    "heat_map",
    distortions.heat_map(page.results, methods, shots),
    f"SRCC on the test images of one distortion type, median over splits, {shots} labels; bright is high.",
    alt="A heat map per database, one row per distortion type, one column per method; each cell shows its value.",
    stage="sweep collect",
)

# %%
page.table("distortions", distortions.distortion_table(page.results, methods, shots, pair))

# %% [markdown]
# ## Scores by level
#
# Images of one level differ in distortion type and content but not in strength, so they are harder to rank.

# %%
page.figure(
    "levels",
    distortions.by_level(page.results, methods, shots),
    f"SRCC among the test images of one level, {shots} labels; every split a dot, the marker their median.",
    alt="One panel per database: SRCC by level of distortion, one marker per method.",
    stage="sweep collect",
)
