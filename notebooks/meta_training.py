# %% [markdown]
# # Meta-prompt pre-training
#
# Each distortion type is a task: an inner model learns from support pictures, query pictures tell how well it went, and the
# meta-prompts move by the outer step. Falling query losses say that the prompts have learned where to start.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml

# %%
from grmp.report import NotebookPage, figures, steps, tables

page = NotebookPage("meta_training", root)

# %%
page.table("losses", tables.pretraining(page.results))

# %%
page.figure(
    "losses",
    figures.losses(page.results),
    "Mean loss over tasks, epoch by epoch, on support and on query pictures; the band holds the middle 80% of the tasks.",
    alt="Support and query loss against the epoch, one line per variant, one pair of panels per pre-training database.",
    stage="pretrain",
)

# %% [markdown]
# ## Task by task

# %%
for database in page.results.params.pretrain.databases:
    page.figure(
        f"tasks_{database}",
        figures.task_losses(page.results, database),
        f"{database}: query loss of each distortion type.",
        alt=f"Small panels, one per distortion type of {database}: query loss against the epoch, one line per variant.",
        stage="pretrain",
    )

# %% [markdown]
# ## How far a few inner steps go
#
# For each distortion type one support and one query set; the inner optimiser steps on the first, the second is scored on the
# way, from the meta-learned prompts and from the random ones with which pre-training began.

# %%
page.table("steps", steps.steps_table(page.results))

# %%
for variant in page.results.params.inner_curves.variants:
    for database in page.results.params.inner_curves.databases:
        page.figure(
            f"steps_{variant}_{database}",
            steps.steps_figure(page.results, variant, database),
            f"{database}, {variant}: loss on query pictures of each distortion type after so many inner steps.",
            alt=f"Small panels, one per distortion type of {database}: query loss against inner steps from both starts.",
            stage=f"inner_curves@{variant}",
        )
