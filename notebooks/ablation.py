# %% [markdown]
# # What each part is worth
#
# The method has two parts, meta-prompt pre-training (MPP) and the quality-aware gradient rule (QGR). Each is switched on
# and off with the other on and off; then one size at a time is changed. Every difference is taken split by split.

# %% tags=["parameters"]
world: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one
method: str = "grmp"  # the whole method, whose parts are taken away
shots: str = ""  # labels of the sweeps, as in params.yaml; empty: the first of run.ablation

# %%
from grmp.params import shots as number_of
from grmp.report import Sheet, ablation, effects
from grmp.report.sweeps import sweeps

sheet = Sheet("ablation", world, protocol)
grid = sheet.world.params.run.ablation
databases = grid.databases or sheet.world.grid.databases
labels = number_of(shots) if shots else (grid.shots or sheet.world.grid.shots)[0]

# %% [markdown]
# ## The two parts

# %%
questions = ablation.parts(sheet.world, method)
parts = effects.effects(sheet.world, questions)
sheet.table(
    "parts", effects.effect_table(sheet.world, parts, questions, "The two parts, each with and without the other")
)

# %%
sheet.figure(
    "parts",
    effects.forest(sheet.world, parts),
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
found = sweeps(sheet.world.params, sheet.world.params.methods)
sheet.figure(
    "sweeps",
    ablation.sweep_figure(sheet.world, found, databases, labels),
    f"SRCC against one setting, {labels} labels: median over splits with its interval, every split a dot. The filled marker "
    "is the value that all other experiments use.",
    alt="One row of panels per setting, one column per database; the table below holds the numbers.",
    stage="sweep",
)

# %%
sheet.table("sweeps", ablation.sweep_table(sheet.world, found, databases, labels))
