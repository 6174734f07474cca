"""Where a model looks and how its embedding lies (results/attribution/): the figures of ``where_it_looks``."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from grmp.errors import UserError
from grmp.report.notes import holes, join
from grmp.report.pictures import shrunk
from grmp.report.results import Results
from grmp.report.style import COLOURS, MARKERS, PAGE, styled
from grmp.report.table import Table, number

SCENES = 7  # most frequent scenes that get a marker of their own
QUALITY = "cividis"


@dataclass(frozen=True)
class Look:
    """What the stage ``attribution`` kept of one database."""

    table: pd.DataFrame  # image, quality, scene; x_, y_ and score_ of each model
    models: list[str]  # "before", then methods
    images: list[str]  # (n,) worst to best
    pictures: np.ndarray  # (n, 3, S, S) uint8
    relevance: np.ndarray  # (models, n, S / patch, S / patch)
    gap: np.ndarray  # (models, n)
    explained: np.ndarray  # (models, 2)

    def label(self, results: Results, model: str) -> str:
        """A model's name in print."""
        method = results.params.methods.get(model)
        return method.label if method else "before adaptation"


def read(results: Results, database: str) -> Look | None:
    """What ``grmp attribution`` wrote, or None.

    Raises
    ------
    UserError
        If the files are damaged.
    """
    base = results.folder / "attribution" / database
    csv, npz = base.with_name(f"{database}.csv"), base.with_name(f"{database}.npz")
    if not (csv.is_file() and npz.is_file()):
        return None
    try:
        table = pd.read_csv(csv, dtype={"image": str, "scene": str})
        with npz.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            found = {name: kept[name] for name in ("models", "images", "pictures", "relevance", "gap", "explained")}
        models, images = ([str(v) for v in found.pop(name)] for name in ("models", "images"))
        look = Look(table, models, images, **found)
        table[["image", "quality", "scene", *(f"{c}_{m}" for m in models for c in ("x", "y", "score"))]]
    except Exception as error:  # a zip archive breaks in many ways
        why = " ".join(str(error).split())[:160]
        raise UserError(f"{npz} is damaged ({why}); make it again with: dvc repro -f attribution@{database}") from None
    return look


@styled
def maps(results: Results, database: str, pixels: int = 72) -> Figure | None:
    """Worst pictures on the left, best on the right; below each the relevance of its patches for every model.

    Light patches raised the score above that of a flat picture, dark ones lowered it, mid-grey ones did nothing. Each
    picture and model has its own scale; the number is the score.
    """
    look = read(results, database)
    if look is None:
        return None
    count = len(look.images)
    side = (PAGE - 0.7) / count
    tight = ConstrainedLayoutEngine(w_pad=0.015, h_pad=0.01, wspace=0.02, hspace=0.01)
    figure = Figure((PAGE, (1 + len(look.models)) * (side + 0.16) + 0.35), layout=tight)
    grid = figure.subplots(1 + len(look.models), count, squeeze=False)
    index = look.table.set_index("image")
    for column, image in enumerate(look.images):
        grid[0, column].imshow(shrunk(look.pictures[column], pixels), interpolation="none")
        grid[0, column].set_xlabel(f"opinion {index.loc[image, 'quality']:.2f}", fontsize=6.5)
        for row, model in enumerate(look.models, start=1):
            values = look.relevance[row - 1, column]
            most = max(float(np.abs(values).max()), 1e-12)
            grid[row, column].imshow(values, cmap="gray", vmin=-most, vmax=most, interpolation="none")
            grid[row, column].set_xlabel(f"score {index.loc[image, f'score_{model}']:.3f}", fontsize=6.5)
    for axis in grid.ravel():
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_linewidth(0.3)
    for row, name in enumerate(["picture", *(look.label(results, m) for m in look.models)]):
        grid[row, 0].set_ylabel(name.replace(" ", "\n", 1), fontsize=6.5)
    greys = ScalarMappable(Normalize(-1, 1), "gray")
    bar = figure.colorbar(greys, ax=grid.ravel().tolist(), orientation="horizontal", shrink=0.4, aspect=40, pad=0.01)
    bar.set_ticks([-1, 0, 1], labels=["lowers the score", "nothing", "raises the score"], fontsize=6.5)
    return figure


@styled
def embeddings(results: Results, database: str) -> Figure | None:
    """Image embeddings of the test pictures on their first two principal components, by quality and by scene, every model."""
    look = read(results, database)
    if look is None:
        return None
    figure = Figure((PAGE, 4.7), layout="constrained")
    grid = figure.subplots(2, len(look.models), squeeze=False)
    scenes = look.table["scene"].value_counts(sort=False).sort_index().sort_values(ascending=False, kind="stable")
    shown = scenes.index[:SCENES].tolist()
    for column, model in enumerate(look.models):
        x, y = look.table[f"x_{model}"], look.table[f"y_{model}"]
        first, second = look.explained[column]
        drawn = grid[0, column].scatter(x, y, c=look.table["quality"], cmap=QUALITY, vmin=0, vmax=1, s=7, linewidths=0)
        grid[0, column].set_title(look.label(results, model))
        for i, scene in enumerate([*shown, "other scenes"]):
            of_scene = look.table["scene"] == scene if scene in shown else ~look.table["scene"].isin(shown)
            if not of_scene.any():
                continue
            grid[1, column].plot(
                x[of_scene], y[of_scene], MARKERS[i % 8], color=COLOURS[(i + 1) % 8], label=scene, markersize=2.8, mew=0.5,
                markerfacecolor="white" if i % 2 else COLOURS[(i + 1) % 8],
            )  # fmt: skip
        for axis in grid[:, column]:
            _bare(axis)
        grid[1, column].set_xlabel(f"{100 * first:.0f}% and {100 * second:.0f}% of the variance")
    grid[0, 0].set_ylabel("by opinion")
    grid[1, 0].set_ylabel("by scene")
    figure.colorbar(drawn, ax=grid[0].tolist(), label="quality", aspect=12, pad=0.01)
    handles, labels = grid[1, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4)
    return figure


def _bare(axis: Axes) -> None:
    """Principal components have no unit that anyone reads."""
    axis.set(xticks=[], yticks=[])
    axis.grid(visible=False)


def summary(results: Results, databases: list[str]) -> Table:
    """How like the maps of two models are, how well they add up, and how far quality shows on the two axes."""
    rows, absent = [], []
    for database in databases:
        look = read(results, database)
        if look is None:
            absent.append(f"attribution@{database}")
            continue
        for i, model in enumerate(look.models):
            scored = look.table[f"score_{model}"].corr(look.table["quality"], "spearman")
            pairs = zip(look.relevance[i].reshape(len(look.images), -1), look.relevance[0], strict=True)
            alike = float(np.mean([np.corrcoef(own, first.ravel())[0, 1] for own, first in pairs]))
            gap = float(np.abs(look.gap[i]).max() / max(np.abs(look.relevance[i].sum((1, 2))).max(), 1e-12))
            along = [abs(look.table[f"{axis}_{model}"].corr(look.table["quality"], "spearman")) for axis in "xy"]
            rows.append((database, look.label(results, model), len(look.table), scored, alike, gap, *along))
    columns = ["database", "model", "pictures", "srcc", "maps_alike", "gap", "axis_1", "axis_2"]
    data = pd.DataFrame(rows, columns=columns)
    heads = ["Database", "Model", "Pictures", "SRCC", "Maps as before", "Gap", "Axis 1", "Axis 2"]
    shown = data.astype(object).set_axis(heads, axis=1)
    for head, column in zip(heads[3:], columns[3:], strict=True):
        shown[head] = [number(v) for v in data[column]]
    text = (
        "Test pictures of one split. SRCC: of the scores with opinion. Maps as before: mean correlation of a map's patches "
        "with those of the same picture before adaptation. Gap: what the finite sum of integrated gradients leaves over, as a "
        "share of a map's largest sum. Axis: absolute SRCC of the embedding's principal component with opinion."
    )
    return Table(data, shown, "What the maps are of", join(text, holes(absent)))
