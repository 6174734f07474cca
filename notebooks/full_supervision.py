# %% [markdown]
# # All labels, and shares of them
#
# The usual protocol of the field: train on 80 % of a database, test on 20 %; and how much of that is left with a part of
# those labels. Published numbers stand beside ours where they could be read.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml
protocol: str = ""  # of params.yaml; empty: the first one of the grid
shots: list[str] = []  # shares of the training side, as in 20pct; empty: those of params.yaml

# %%
from grmp.report import NotebookPage, scores

page = NotebookPage("full_supervision", root, protocol)
shots = shots or page.results.params.run.full.shots
empty = "Scores on shares of the training side: the grid run.full of params.yaml is empty."

# %% [markdown]
# ## Scores

# %%
for metric in ("srcc", "plcc"):
    page.table(
        f"scores_{metric}",
        scores.score_table(page.results, "full", shots, [metric]),
        f"{metric.upper()}. {empty}",
        "full",
    )

# %% [markdown]
# ## How much a share of the labels is worth

# %%
page.figure(
    "data_efficiency",
    scores.curves(page.results, "full", shots),
    "SRCC against the share of the training side that is labelled: median over splits with its interval, every split a dot.",
    alt="One panel per database: SRCC against the share of labels, one line per method; the table above holds the numbers.",
    stage="sweep",
)
