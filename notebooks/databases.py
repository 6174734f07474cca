# %% [markdown]
# # The databases and the backbone
#
# What the pipeline learned from and was tested on: how many pictures, how their opinions are spread, what they look like
# from worst to best, and what the backbone knows before any adaptation.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml
pictures: int = 6  # sample pictures per database

# %%
from grmp.report import NotebookPage, figures, tables

page = NotebookPage("databases", root)

# %% [markdown]
# ## What there is

# %%
page.table("databases", tables.databases(page.results))

# %%
page.figure(
    "opinions",
    figures.histograms(page.results),
    "How the opinions are spread, on each database's own scale.",
    alt="One histogram per database: number of pictures against opinion.",
    stage="prepare",
)

# %% [markdown]
# ## From worst to best

# %%
page.figure(
    "samples",
    figures.samples(page.results, pictures),
    "Pictures at equal steps of rank, lowest opinion on the left; below each its opinion as published or simulated.",
    alt=f"One row of {pictures} pictures per database, from the lowest to the highest opinion.",
    stage="prepare",
)

# %% [markdown]
# ## What the backbone knows
#
# Before any label is seen: does "high quality" against "low quality" order pictures, and does it name the scene?

# %%
page.table("backbone", tables.backbone(page.results))
