"""Attribution maps and embeddings (stage ``attribution``): tables and figures of the notebook ``where_it_looks``."""

import numpy as np
import pandas as pd
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from grmp.report.plotting import COLOURS, MARKERS, PAGE, image_grid, shrunk, styled
from grmp.report.results import Results
from grmp.report.table import Table, in_print, join, not_run

SCENES = 7  # most frequent scenes that get a marker of their own
MEASURES = {"srcc": "SRCC", "maps_alike": "Map correlation", "gap": "Gap", "axis_1": "PC 1", "axis_2": "PC 2"}
MAP = "RdBu"  # blue raises the score, red lowers it


def _label(results: Results, model: str) -> str:
    """A model's name in print; "before" is the one with the initial prompts."""
    return "before fine-tuning" if model == "before" else results.label(model)


@styled
def maps(results: Results, database: str) -> Figure | None:
    """Images of the lowest and highest ratings, and the attribution map of each model over a grey copy of the image.

    Blue regions raised the score relative to a uniform image, red ones lowered it; the colour scale is that of one map.
    """
    table, arrays = results.attribution(database)
    if table.empty:
        return None
    index, models = table.set_index("image"), arrays["models"].tolist()
    figure, grid = image_grid(1 + len(models), len(arrays["images"]), 0.4, 0.17)
    for column, name in enumerate(arrays["images"]):
        image = shrunk(arrays["pixels"][column])
        extent = (-0.5, image.shape[1] - 0.5, image.shape[0] - 0.5, -0.5)
        grid[0, column].imshow(image, interpolation="none")
        grid[0, column].set_xlabel(f"rating {index.loc[name, 'quality']:.2f}", fontsize=6.5)
        for row, model in enumerate(models, start=1):
            values = arrays["relevance"][row - 1, column]
            most = max(float(np.abs(values).max()), 1e-12)
            axis = grid[row, column]
            axis.imshow(128 + 0.5 * image.mean(axis=2), cmap="gray", vmin=0, vmax=255, interpolation="none")
            axis.imshow(values, cmap=MAP, vmin=-most, vmax=most, alpha=0.6, interpolation="bicubic", extent=extent)
            axis.set_xlabel(f"score {index.loc[name, f'score_{model}']:.3f}", fontsize=6.5)
    for row, label in enumerate(["image", *(_label(results, m) for m in models)]):
        grid[row, 0].set_ylabel(label.replace(" ", "\n", 1), fontsize=6.5)
    scale = ScalarMappable(Normalize(-1, 1), MAP)
    bar = figure.colorbar(scale, ax=grid.ravel().tolist(), orientation="horizontal", shrink=0.4, aspect=40, pad=0.01)
    bar.set_ticks([-1, 0, 1], labels=["lowers the score", "no effect", "raises the score"])
    return figure


@styled
def embeddings(results: Results, database: str) -> Figure | None:
    """Embeddings of the test images on their first two principal components, by rating and by scene, for every model."""
    table, arrays = results.attribution(database)
    if table.empty:
        return None
    figure, models = Figure((PAGE, 4.7), layout="constrained"), arrays["models"].tolist()
    grid = figure.subplots(2, len(models), squeeze=False)
    scenes = table["scene"].value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
    shown = scenes.index[:SCENES].tolist()
    for column, model in enumerate(models):
        x, y = table[f"x_{model}"], table[f"y_{model}"]
        first, second = arrays["explained"][column]
        drawn = grid[0, column].scatter(x, y, c=table["quality"], cmap="cividis", vmin=0, vmax=1, s=7, linewidths=0)
        grid[0, column].set_title(_label(results, model))
        for i, scene in enumerate([*shown, "other scenes"]):
            of_scene = table["scene"] == scene if scene in shown else ~table["scene"].isin(shown)
            colour = COLOURS[(i + 1) % 8]
            if of_scene.any():
                grid[1, column].plot(
                    x[of_scene], y[of_scene], MARKERS[i % 8], color=colour, label=scene, markersize=2.8, mew=0.5,
                    markerfacecolor="white" if i % 2 else colour,
                )  # fmt: skip
        for axis in grid[:, column]:
            axis.set(xticks=[], yticks=[])
            axis.grid(visible=False)
        grid[1, column].set_xlabel(f"PC 1 ({100 * first:.0f}% of the variance)\nvertical: PC 2 ({100 * second:.0f}%)")
    grid[0, 0].set_ylabel("by rating")
    grid[1, 0].set_ylabel("by scene (zero-shot)")
    figure.colorbar(drawn, ax=grid[0].tolist(), label="quality in [0, 1]", aspect=12, pad=0.01)
    figure.legend(*grid[1, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4)
    return figure


def model_table(results: Results, databases: list[str]) -> Table:
    """How similar the maps of two models are, how complete they are, and how far the embedding reflects quality."""
    rows, absent = [], []
    for database in databases:
        table, arrays = results.attribution(database)
        if table.empty:
            absent.append(f"attribution@{database}")
            continue
        maps_, gaps = arrays["relevance"], arrays["gap"]
        for i, model in enumerate(arrays["models"].tolist()):
            srcc = table[f"score_{model}"].corr(table["quality"], "spearman")
            pairs = zip(maps_[i].reshape(len(arrays["images"]), -1), maps_[0], strict=True)
            alike = float(np.mean([np.corrcoef(one, first.ravel())[0, 1] for one, first in pairs]))
            gap = float(np.abs(gaps[i]).max() / max(np.abs(maps_[i].sum((1, 2))).max(), 1e-12))
            along = [abs(table[f"{axis}_{model}"].corr(table["quality"], "spearman")) for axis in "xy"]
            rows.append((database, _label(results, model), len(table), srcc, alike, gap, *along))
    data = pd.DataFrame(rows, columns=["database", "model", "images", *MEASURES])
    shown = in_print(results, data, {"database": "Database", "model": "Model", "images": "Images"} | MEASURES)
    text = (
        "Test images of one split. SRCC: of the scores with the ratings. Map correlation: mean correlation with the map of the "
        "same image before fine-tuning. Gap: completeness error of integrated gradients, as a share of the largest sum of a "
        "map. PC: absolute SRCC of the embedding's principal component with the ratings."
    )
    return Table(data, shown, "Attribution maps and embeddings", join(text, not_run(absent)))
