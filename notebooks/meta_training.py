# %% [markdown]
# # Meta-prompt pre-training
#
# Each distortion type is a task. In the inner loop, a model learns from support images; the loss on query images then
# drives the outer step on the meta-prompts. A falling query loss means that the prompts become a better
# initialisation.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml

# %%
from grmp.report import NotebookPage, meta_training
from grmp.report.results import title

page = NotebookPage("meta_training", root)

# %%
page.table("losses", meta_training.loss_table(page.results))

# %%
page.figure(
    "losses",
    meta_training.losses(page.results),
    "Mean loss over tasks on support and on query images; the band holds the middle 80% of the tasks.",
    alt="Support and query loss against the epoch, one line per variant, one pair of panels per pre-training database.",
    stage="pretrain",
)

# %% [markdown]
# ## Losses per task

# %%
for database in page.results.params.pretrain.databases:
    page.figure(
        f"tasks_{database}",
        meta_training.task_losses(page.results, database),
        f"{title(database)}: query loss per distortion type.",
        alt="Small panels, one per distortion type: query loss against the epoch, one line per variant.",
        stage="pretrain",
    )

# %% [markdown]
# ## Effect of a few inner steps
#
# For each distortion type, the inner optimiser takes a few steps on one support set; the loss is measured on one
# query set, from the meta-learned prompts and from the random prompts with which pre-training began.

# %%
page.table("steps", meta_training.inner_curves_table(page.results))

# %%
for variant in page.results.params.inner_curves.variants:
    for database in page.results.params.inner_curves.databases:
        page.figure(
            f"steps_{variant}_{database}",
            meta_training.inner_curves_figure(page.results, variant, database),
            f"{title(database)}, {page.results.variant_label(variant)}: query loss per distortion type against "
            "the number of inner steps.",
            alt="Small panels, one per distortion type: query loss against inner steps from both starts.",
            stage=f"inner_curves@{variant}",
        )
