# %% [markdown]
# # The gradient rule
#
# Adaptation has two losses, the task's (quality) and the semantic one (stay near CLIP's scenes). The rule takes the semantic
# gradient's direction out of the task's, λ times over, where the two agree: the reverse of ProGrad, which acts where they
# conflict.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one
method: str = "grmp"  # the method with the rule as published
shots: str = ""  # labels, as in params.yaml; empty: the first of run.ablation

# %%
from grmp.params import shots as number_of
from grmp.report import NotebookPage, effects, gradient

page = NotebookPage("gradient", root, protocol)
grid = page.results.params.run.ablation
databases = grid.databases or page.results.grid.databases
labels = number_of(shots) if shots else (grid.shots or page.results.grid.shots)[0]
rules = gradient.rules(page.results, method)

# %% [markdown]
# ## How strong

# %%
page.figure(
    "strength",
    gradient.strength(page.results, method, databases, labels),
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
page.figure(
    "angles",
    gradient.angles(page.results, rules[:6], databases, labels),
    f"Angle between the gradients of the two losses over training, {labels} labels: median over splits, the band from the "
    "least to the greatest. All tensors taken together, before the rule.",
    alt="One panel per database: angle in degrees against the epoch, one line per rule, with a line at 90 degrees.",
    stage="sweep",
)

# %% [markdown]
# ## Other rules, from the same start

# %%
page.table("rules", gradient.rule_table(page.results, method, databases, labels))

# %%
questions = gradient.variants(page.results, method)
page.figure(
    "rules",
    effects.forest(page.results, effects.effects(page.results, questions)),
    "Each rule against none: mean difference of SRCC over splits with its interval, every split a dot.",
    alt="One panel per rule, one row per database and number of labels.",
    stage="sweep",
)
