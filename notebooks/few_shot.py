# %% [markdown]
# # Few-shot evaluation
#
# Accuracy after fine-tuning with few labelled images, and the contribution of each part of the method. Values are
# medians over seeded splits; every dot is one split. Published numbers are included where they could be read.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml
protocol: str = ""  # of params.yaml; empty: the first one
shots: list[int] = []  # numbers of labelled images; empty: those of params.yaml
methods: list[str] = []  # rows of the table; empty: those of params.yaml
metrics: list[str] = ["srcc", "plcc"]  # columns of the table

# %%
from grmp.report import NotebookPage, comparisons, few_shot

page = NotebookPage("few_shot", root, protocol)
shots = shots or page.results.grid.shots

# %% [markdown]
# ## Scores

# %%
table = few_shot.score_table(page.results, "few_shot", shots, metrics, methods)
page.table("scores", table, "Scores with few labels.", "sweep")
page.table("shared", few_shot.shared_table(page.results, "few_shot", shots, methods))
page.table("left_out", few_shot.excluded_table(page.results))

# %%
for metric in ("srcc", "plcc") if len(shots) > 1 else ():  # for a single number of labels the table says it all
    page.figure(
        f"curves_{metric}",
        few_shot.curves(page.results, "few_shot", shots, metric),
        f"{metric.upper()} for each number of labelled images (shaded groups): median over splits with its interval, every "
        "split a dot. Stars and dashes, where there are any: published numbers, with other splits, images and backbones.",
        alt=f"One panel per database: {metric.upper()} by number of labels, one marker per method; the table lists the values.",
        stage="sweep",
    )

# %% [markdown]
# ## Paired differences
#
# Both methods of a comparison use the same splits, so differences are taken split by split.

# %%
page.table("pairs", comparisons.answer_table(page.results))

# %%
page.figure(
    "pairs",
    comparisons.forest(page.results, comparisons.answers(page.results)),
    "Mean difference of SRCC over splits with its interval, every split a dot; positive: the first method is better. The grey "
    "band marks differences below 0.02. Scales differ between panels.",
    alt="One panel per question, one row per database and number of labels; the table above lists the values.",
    stage="sweep",
)
