# %% [markdown]
# # Meta-prompt pre-training
#
# Each distortion type is a task: an inner model learns from support pictures, query pictures tell how well it went, and the
# meta-prompts move by the outer step. Falling query losses say that the prompts have learned where to start.

# %% tags=["parameters"]
world: str = "."  # folder of params.yaml

# %%
from grmp.report import Sheet, figures, tables

sheet = Sheet("meta_training", world)

# %%
sheet.table("losses", tables.pretraining(sheet.world))

# %%
sheet.figure(
    "losses",
    figures.losses(sheet.world),
    "Mean loss over tasks, epoch by epoch, on support and on query pictures; the band holds the middle 80% of the tasks.",
    alt="Support and query loss against the epoch, one line per variant, one pair of panels per pre-training database.",
    stage="pretrain",
)

# %% [markdown]
# ## Task by task

# %%
for database in sheet.world.params.pretrain.databases:
    sheet.figure(
        f"tasks_{database}",
        figures.task_losses(sheet.world, database),
        f"{database}: query loss of each distortion type.",
        alt=f"Small panels, one per distortion type of {database}: query loss against the epoch, one line per variant.",
        stage="pretrain",
    )
