# %% [markdown]
# # Summary
#
# What the paper claims, the number found here with its interval, and whether the one bears the other out. Verdicts are given by
# a stated rule, never by hand; what has not been run or cannot be compared is called so.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml

# %%
from grmp.report import NotebookPage, claims

page = NotebookPage("summary", root)

# %%
page.table("claims", claims.claim_table(page.results))

# %%
page.figure(
    "claims",
    claims.claim_figure(page.results),
    "The numbers that the paper states (stars) and our medians with their intervals.",
    alt="One row per database and number of labels: the stated SRCC and ours under each protocol; the table holds the numbers.",
    stage="sweep",
)
