# %% [markdown]
# # Databases and backbone
#
# The databases used for pre-training and as targets: number of images, distribution of the ratings, sample images,
# and the zero-shot accuracy of the backbone.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml
images: int = 6  # sample images per database

# %%
from grmp.report import NotebookPage, databases

page = NotebookPage("databases", root)

# %%
page.table("databases", databases.database_table(page.results))

# %%
page.figure(
    "ratings",
    databases.histograms(page.results),
    "Distribution of the ratings on each database's own scale; the title gives the number of images.",
    alt="One histogram per database: number of images against rating.",
    stage="prepare",
)

# %% [markdown]
# ## Sample images

# %%
page.figure(
    "samples",
    databases.samples(page.results, images),
    "Images at equal steps of rank, from the lowest rating (left) to the highest (right), with their ratings.",
    alt=f"One row of {images} images per database, from the lowest to the highest rating.",
    stage="prepare",
)

# %% [markdown]
# ## The backbone
#
# Zero-shot: how well the similarity to "high quality" against "low quality" ranks images, and how often the scene is
# classified correctly.

# %%
page.table("backbone", databases.backbone_table(page.results))
