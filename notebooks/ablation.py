# %% [markdown]
# # Ablations
#
# The method has two parts, meta-learned prompts and the gradient rule. Each is switched on and off, with and without
# the other; then one setting at a time is changed. Differences are taken split by split.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml
protocol: str = ""  # of params.yaml; empty: the first one
shots: str = ""  # labels of the sweeps, as in params.yaml; empty: the first of run.ablation

# %%
from grmp.params import shots as number_of
from grmp.report import NotebookPage, ablation, comparisons, few_shot

page = NotebookPage("ablation", root, protocol)
grid = page.results.params.run.ablation
databases = grid.databases or page.results.grid.databases
labels = number_of(shots) if shots else next(iter([*grid.shots, *page.results.grid.shots]), 0)

# %% [markdown]
# ## The two parts

# %%
questions = page.results.params.report.parts
effects = comparisons.effects(page.results, questions)
page.table("parts", comparisons.effect_table(page.results, effects, questions, "Each part with and without the other"))

# %%
page.figure(
    "parts",
    comparisons.forest(page.results, comparisons.effects(page.results, questions), shared=True),
    "Mean difference of SRCC over splits with its interval, every split a dot; positive: the part improves the score. The grey "
    "band marks differences below 0.02.",
    alt="One group of rows per question, one row per database and number of labels; the table above lists the values.",
    stage="sweep",
)

# %% [markdown]
# ## One setting at a time
#
# The numbers of prompt tokens and the class words are changed from random prompts, since the meta-learned ones have a
# fixed size and fixed words.

# %%
found = ablation.sweeps(page.results.params)
page.figure(
    "sweeps",
    ablation.sweep_figure(page.results, found, databases, labels),
    f"SRCC against one setting, {labels} labels: median over splits with its interval, every split a dot. The filled marker is "
    "the default value.",
    alt="One panel per setting and database; the table below lists the values.",
    stage="sweep",
)

# %%
page.table("sweeps", ablation.sweep_table(page.results, found, databases, labels))

# %% [markdown]
# ## Every method of this grid
#
# Methods in the manner of related papers and those that train other tensors belong to no setting above.

# %%
page.table("methods", few_shot.score_table(page.results, "ablation", [labels]), "Scores of the ablation grid.", "sweep")
