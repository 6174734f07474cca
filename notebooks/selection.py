# %% [markdown]
# # Evaluation protocol
#
# The released code selects the best epoch, the learning rate and the stopping time on the test images. The sound
# protocol fixes the schedule in advance and evaluates the test images once. This notebook measures the effect on the
# scores.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml
one: str = "published"  # a protocol of params.yaml
other: str = "sound"  # the protocol it is compared with
shots: int = 0  # number of labelled images in the figure; 0: the first of run.ablation, or of run.few_shot

# %%
from grmp.report import NotebookPage, selection

page = NotebookPage("selection", root)
page = NotebookPage("selection", root, other) if other in page.results.params.protocols else page
run = page.results.params.run
shots = shots or next((k for k in [*run.ablation.shots, *run.few_shot.shots] if k in run.few_shot.shots), 0)

# %% [markdown]
# ## The two protocols

# %%
page.table("protocols", selection.protocol_table(page.results, one, other))

# %%
page.figure(
    "protocols",
    selection.protocol_figure(page.results, one, other, shots),
    f"Median SRCC with {shots} labels under the {one} protocol (hollow) and the {other} protocol (filled), with intervals.",
    alt="One panel per database, one row per method, two markers each; the table above lists the values.",
    stage="sweep" if selection.asked(page.results, one, other) else "",
)

# %% [markdown]
# ## Selection of the epoch
#
# The same method on the same splits, with and without selecting the best epoch on the test split.

# %%
page.table(
    "reading",
    selection.reading_table(page.results),
    "Gain from selecting the epoch on the test split; it needs `select` in `run.ablation.methods` of params.yaml.",
    "sweep",
)
