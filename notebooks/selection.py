# %% [markdown]
# # Which protocol
#
# The released code chooses its best epoch, its learning rate and when to stop on the test pictures; the sound protocol fixes
# the schedule in advance and reads them once. What does that do to the numbers?

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml
one: str = "published"  # a protocol of params.yaml
other: str = "sound"  # and what it is held against
shots: int = 0  # number of labelled pictures in the figure; 0: the smallest of params.yaml

# %%
from grmp.report import NotebookPage, selection

page = NotebookPage("selection", root, other)
shots = shots or min(page.results.grid.shots)

# %% [markdown]
# ## Two protocols as a whole

# %%
page.table("protocols", selection.protocol_table(page.results, one, other))

# %%
page.figure(
    "protocols",
    selection.protocol_figure(page.results, one, other, shots),
    f"Median SRCC after {shots} labels under the {one} protocol (hollow) and the {other} one (filled), with their intervals.",
    alt="One panel per database, one row per method, two markers each; the table above holds the numbers.",
    stage="sweep",
)

# %% [markdown]
# ## The choice of the epoch alone
#
# The same method twice, all else alike, on the same splits: once with the best epoch chosen on the test split.

# %%
page.table(
    "reading",
    selection.reading_table(page.results),
    "What choosing the epoch on the test split adds: give a copy of a method `set: {adapt.select: test}` and name it in a grid "
    "of params.yaml.",
    "ablation",
)
