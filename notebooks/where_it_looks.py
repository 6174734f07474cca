# %% [markdown]
# # Where it looks
#
# What raised and what lowered a picture's score, before adaptation and after it, without and with the gradient rule; and
# how the embeddings of test pictures lie. The stage `attribution` adapts each model again on one split and keeps both.
#
# Maps are by integrated gradients (Sundararajan, Taly, Yan, ICML 2017) of the score's logit, from a flat picture of the
# same mean colour to the picture: the patches of a map add up to the difference of the two pictures' logits.

# %% tags=["parameters"]
root: str = "."  # folder of params.yaml
databases: list[str] = []  # empty: those of run.few_shot

# %%
from grmp.report import NotebookPage, looking

page = NotebookPage("where_it_looks", root)
databases = databases or page.results.grid.databases

# %%
for database in databases:
    page.figure(
        f"maps_{database}",
        looking.maps(page.results, database),
        f"{database}: the test pictures of lowest (left) and highest opinion (right). Light patches raised the score, dark "
        "ones lowered it, mid-grey ones did nothing; each map has its own scale.",
        alt=f"Pictures of {database} from worst to best in the first row, a grey map of patches for each model below.",
        stage=f"attribution@{database}",
    )

# %% [markdown]
# ## The embedding

# %%
for database in databases:
    page.figure(
        f"embedding_{database}",
        looking.embeddings(page.results, database),
        f"{database}: embeddings of the test pictures on their first two principal components, by opinion (above, light is "
        "good) and by the scene that CLIP names (below).",
        alt=f"Scatter plots of {database}: one column per model, the upper row coloured by quality, the lower by scene.",
        stage=f"attribution@{database}",
    )

# %%
page.table("models", looking.summary(page.results, databases))
