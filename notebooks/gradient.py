# %% [markdown]
# # The gradient rule
#
# Fine-tuning has two losses: the task loss (quality) and the semantic loss (distance to the scene predictions of
# CLIP). Where their gradients agree, the rule subtracts λ times the semantic component from the task gradient. This
# is the opposite of ProGrad, which acts where they conflict.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml
protocol: str = ""  # of params.yaml; empty: the first one
method: str = "grmp"  # the method with the rule as published
shots: str = ""  # labels, as in params.yaml; empty: the first of run.ablation

# %%
from grmp.params import shots as number_of
from grmp.report import NotebookPage, comparisons, gradient

page = NotebookPage("gradient", root, protocol)
grid = page.results.params.run.ablation
databases = grid.databases or page.results.grid.databases
labels = number_of(shots) if shots else next(iter([*grid.shots, *page.results.grid.shots]), 0)
rules = [name for _, name in gradient.ablation_of(page.results.params, method, "rule").points]

# %% [markdown]
# ## Strength

# %%
page.figure(
    "strength",
    gradient.strength(page.results, method, databases, labels),
    f"Top: SRCC against λ, {labels} labels, median over splits with its interval, every split a dot; 0 is no rule, the filled "
    "marker the published value. Bottom: semantic loss on the labelled images in the last epoch, the distance to the scene "
    "predictions of CLIP.",
    alt="Two rows of panels, one column per database: SRCC and the final semantic loss against λ.",
    stage="sweep",
)

# %% [markdown]
# ## Angle between the gradients
#
# Below 90° the losses agree on the whole, above they conflict. The rules act tensor by tensor, so the published rule and
# ProGrad may each act on some tensors on either side of 90°.

# %%
page.figure(
    "angles",
    gradient.angles(page.results, rules[:4], databases, labels),
    f"Angle between the gradients of the two losses, over all trained tensors and before the rule, {labels} labels. Thin "
    "lines: splits, running means over five epochs where every epoch is recorded (methods without a rule record fewer). Thick "
    "line: mean over splits.",
    alt="One panel per rule and database: angle in degrees against the epoch, one line per split, with a line at 90 degrees.",
    stage="sweep",
)

# %% [markdown]
# ## Other rules from the same initial prompts

# %%
page.table("rules", gradient.rule_table(page.results, method, databases, labels))

# %%
questions = gradient.variants(page.results.params, method)
page.figure(
    "rules",
    comparisons.forest(page.results, comparisons.effects(page.results, questions), shared=True),
    "Each rule against none: mean difference of SRCC over splits with its interval, every split a dot. The grey band marks "
    "differences below 0.02.",
    alt="One group of rows per rule, one row per database and number of labels.",
    stage="sweep",
)
