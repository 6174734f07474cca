# %% [markdown]
# # Few labels
#
# How well quality is predicted after adapting with few labelled pictures, and what each part of the method is worth. Every
# number is a median over seeded splits; every dot is one split. Published numbers stand beside ours where they could be read.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: its first one
shots: list[int] = []  # numbers of labelled pictures; empty: those of params.yaml

# %%
from grmp.report import NotebookPage, effects, scores, tables

page = NotebookPage("few_shot", root, protocol)
shots = shots or page.results.grid.shots

# %% [markdown]
# ## Scores

# %%
page.table("scores", scores.score_table(page.results, "few_shot", shots), "Scores after few labels.", "sweep")
page.table("left_out", tables.left_out(page.results))

# %%
for metric in ("srcc", "plcc"):
    page.figure(
        f"curves_{metric}",
        scores.curves(page.results, "few_shot", shots, metric),
        f"{metric.upper()} against the number of labelled pictures: median over splits with its interval, every split a dot.",
        alt=f"One panel per database: {metric.upper()} against labels, one line per method; the table above holds the numbers.",
        stage="sweep",
    )

# %% [markdown]
# ## What each part is worth
#
# Both sides of a comparison saw the same splits, so their difference is taken split by split.

# %%
differences = effects.answers(page.results)
page.table("pairs", effects.answer_table(page.results, differences))

# %%
page.figure(
    "pairs",
    effects.forest(page.results, differences),
    "Mean difference of SRCC over splits with its interval, every split a dot; right of the line the first method is better. "
    "Each panel has its own scale.",
    alt="One panel per question, one row per database and number of labels; the table above holds the numbers.",
    stage="sweep",
)
