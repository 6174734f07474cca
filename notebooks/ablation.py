# %% [markdown]
# # What each part is worth
#
# The method has two parts, meta-prompt pre-training (MPP) and the quality-aware gradient rule (QGR). Each is switched on
# and off with the other on and off; then one size at a time is changed. Every difference is taken split by split.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one
method: str = "grmp"  # the whole method, whose parts are taken away
shots: str = ""  # labels of the sweeps, as in params.yaml; empty: the first of run.ablation

# %%
from grmp.params import shots as number_of
from grmp.report import NotebookPage, ablation, effects
from grmp.report.sweeps import sweeps

page = NotebookPage("ablation", root, protocol)
grid = page.results.params.run.ablation
databases = grid.databases or page.results.grid.databases
labels = number_of(shots) if shots else (grid.shots or page.results.grid.shots)[0]

# %% [markdown]
# ## The two parts

# %%
questions = ablation.parts(page.results, method)
parts = effects.effects(page.results, questions)
page.table(
    "parts", effects.effect_table(page.results, parts, questions, "The two parts, each with and without the other")
)

# %%
page.figure(
    "parts",
    effects.forest(page.results, parts),
    "Mean difference of SRCC over splits with its interval, every split a dot; right of the line the part helps. Each "
    "panel has its own scale.",
    alt="One panel per question, one row per database and number of labels; the table above holds the numbers.",
    stage="sweep",
)

# %% [markdown]
# ## One size at a time
#
# Every method of `params.yaml` that sets one value for itself (`set: {adapt.tuned_blocks: 0}`) stands beside the method that is
# like it in all else. Prompt tokens and words are changed from random prompts, as meta-learned ones have their size and words.

# %%
found = sweeps(page.results.params, page.results.params.methods)
page.figure(
    "sweeps",
    ablation.sweep_figure(page.results, found, databases, labels),
    f"SRCC against one setting, {labels} labels: median over splits with its interval, every split a dot. The filled marker "
    "is the value that all other experiments use.",
    alt="One row of panels per setting, one column per database; the table below holds the numbers.",
    stage="sweep",
)

# %%
page.table("sweeps", ablation.sweep_table(page.results, found, databases, labels))
