# %% [markdown]
# # Summary
#
# The claims of the paper, our results with their intervals, and a verdict on each claim. Verdicts follow a stated
# rule. Claims that were not run, or that cannot be compared with our setting, are listed as such.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml

# %%
from grmp.report import NotebookPage, summary

page = NotebookPage("summary", root)

# %%
page.table("claims", summary.claim_table(page.results))

# %%
page.figure(
    "claims",
    summary.claim_figure(page.results),
    "Values stated in the paper (stars) and our medians with their intervals.",
    alt="One row per database and number of labels: the stated SRCC and ours under each protocol; the table lists the values.",
    stage="sweep" if summary.verdicts(page.results)["why"].str.startswith("`").any() else "",
)
