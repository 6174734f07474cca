# %% [markdown]
# # Attribution maps and embeddings
#
# Which image regions raise or lower the score before fine-tuning, and after it without and with the gradient rule;
# and the embeddings of the test images. The stage `attribution` fine-tunes each model on one split and stores maps
# and embeddings.
#
# Maps are integrated gradients (Sundararajan, Taly, Yan, ICML 2017) of the logit of the score, from a uniform image
# of the same mean colour to the image: the values of a map sum to the difference of the two logits.

# %% tags=["parameters"]
root: str = "."  # pipeline folder: the folder of params.yaml
databases: list[str] = []  # empty: those of run.few_shot

# %%
from grmp.report import NotebookPage, where_it_looks
from grmp.report.results import title

page = NotebookPage("where_it_looks", root)
databases = databases or page.results.grid.databases

# %%
for database in databases:
    page.figure(
        f"maps_{database}",
        where_it_looks.maps(page.results, database),
        f"{title(database)}: the test images with the lowest ratings (left) and the highest (right). Blue "
        "regions raised the score, red ones lowered it; each map has its own scale.",
        alt="Images from the worst to the best in the first row; below, a coloured map over each image for each model.",
        stage=f"attribution@{database}",
    )

# %% [markdown]
# ## Embeddings

# %%
for database in databases:
    page.figure(
        f"embedding_{database}",
        where_it_looks.embeddings(page.results, database),
        f"{title(database)}: embeddings of the test images on their first two principal components, by rating "
        "(top; bright is good) and by the scene that zero-shot CLIP predicts (bottom).",
        alt="Scatter plots: one column per model, the upper row coloured by quality, the lower by scene.",
        stage=f"attribution@{database}",
    )

# %%
page.table("models", where_it_looks.model_table(page.results, databases))
