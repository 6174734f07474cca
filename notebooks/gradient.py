# %% [markdown]
# # The gradient rule
#
# Adaptation has two losses, the task's (quality) and the semantic one (stay near CLIP's scenes). The rule takes the semantic
# gradient's direction out of the task's, λ times over, where the two agree: the reverse of ProGrad, which acts where they
# conflict.

# %% tags=["parameters"]
world: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one
method: str = "grmp"  # the method with the rule as published
shots: str = ""  # labels, as in params.yaml; empty: the first of run.ablation

# %%
from grmp.params import shots as number_of
from grmp.report import Sheet, effects, gradient

sheet = Sheet("gradient", world, protocol)
grid = sheet.world.params.run.ablation
databases = grid.databases or sheet.world.grid.databases
labels = number_of(shots) if shots else (grid.shots or sheet.world.grid.shots)[0]
rules = gradient.rules(sheet.world, method)

# %% [markdown]
# ## How strong

# %%
sheet.figure(
    "strength",
    gradient.strength(sheet.world, method, databases, labels),
    f"Above: SRCC against λ, {labels} labels, median over splits with its interval, every split a dot; 0 is no rule, the "
    "filled marker the published value. Below: the semantic loss on the labelled pictures at the end, which tells how far the "
    "model has moved from CLIP's scenes.",
    alt="Two rows of panels, one column per database: SRCC and the last semantic loss against λ.",
    stage="sweep",
)

# %% [markdown]
# ## The angle between the two gradients
#
# Below 90° the losses agree, and the published rule acts; above, they conflict, and ProGrad's would.

# %%
sheet.figure(
    "angles",
    gradient.angles(sheet.world, rules[:6], databases, labels),
    f"Angle between the gradients of the two losses over training, {labels} labels: median over splits, the band from the "
    "least to the greatest. All tensors taken together, before the rule.",
    alt="One panel per database: angle in degrees against the epoch, one line per rule, with a line at 90 degrees.",
    stage="sweep",
)

# %% [markdown]
# ## Other rules, from the same start

# %%
sheet.table("rules", gradient.rule_table(sheet.world, method, databases, labels))

# %%
questions = gradient.variants(sheet.world, method)
sheet.figure(
    "rules",
    effects.forest(sheet.world, effects.effects(sheet.world, questions)),
    "Each rule against none: mean difference of SRCC over splits with its interval, every split a dot.",
    alt="One panel per rule, one row per database and number of labels.",
    stage="sweep",
)
