# %% [markdown]
# # Few labels
#
# How well quality is predicted after adapting with few labelled pictures, and what each part of the method is worth. Every
# number is a median over seeded splits; every dot is one split. Published numbers stand beside ours where they could be read.

# %% tags=["parameters"]
world: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one
shots: list[int] = []  # numbers of labelled pictures; empty: those of params.yaml

# %%
from grmp.report import Sheet, effects, scores, tables

sheet = Sheet("few_shot", world, protocol)
shots = shots or sheet.world.grid.shots

# %% [markdown]
# ## Scores

# %%
sheet.table("scores", scores.score_table(sheet.world, "few_shot", shots), "Scores after few labels.", "sweep")
sheet.table("left_out", tables.left_out(sheet.world))

# %%
for metric in ("srcc", "plcc"):
    sheet.figure(
        f"curves_{metric}",
        scores.curves(sheet.world, "few_shot", shots, metric),
        f"{metric.upper()} against the number of labelled pictures: median over splits with its interval, every split a dot.",
        alt=f"One panel per database: {metric.upper()} against labels, one line per method; the table above holds the numbers.",
        stage="sweep",
    )

# %% [markdown]
# ## What each part is worth
#
# Both sides of a comparison saw the same splits, so their difference is taken split by split.

# %%
differences = effects.answers(sheet.world)
sheet.table("pairs", effects.answer_table(sheet.world, differences))

# %%
sheet.figure(
    "pairs",
    effects.forest(sheet.world, differences),
    "Mean difference of SRCC over splits with its interval, every split a dot; right of the line the first method is better. "
    "Each panel has its own scale.",
    alt="One panel per question, one row per database and number of labels; the table above holds the numbers.",
    stage="sweep",
)
