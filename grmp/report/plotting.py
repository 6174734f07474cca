"""The style of all figures, and what several of them draw: splits with their median and interval, panels, rows of images.

Figures are plain ``matplotlib.figure.Figure`` objects without a backend, so no display is needed.
"""

from collections.abc import Callable, Iterable, Sequence
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.style import context
from PIL import Image, ImageChops

from grmp.files import whole

COLUMN, PAGE = 3.3, 6.9  # inches: widths of one column and of the page
STYLE = ["default", str(Path(__file__).parent / "paper.mplstyle")]  # the default first: no user's matplotlibrc applies
FORMATS = ("png", "pdf", "svg")
GREY = "#6E6E6E"

# The colours of Okabe and Ito without yellow, then eight of Tol's "muted" ones, with open markers: distinct within each
# eight for any colour vision. In black and white, marker and line style tell all sixteen apart.
COLOURS = (GREY, "#E69F00", "#56B4E9", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
MORE_COLOURS = ("#882255", "#999933", "#332288", "#44AA99", "#AA4499", "#117733", "#B8860B", "#661100")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LINES = (":", "-.", "--", "-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorator: run ``draw`` under the style of this package."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with context(STYLE, after_reset=True):
            return draw(*args, **kwargs)

    return inner


def line_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Plot keywords of each name, by its position: pass all methods of params.yaml, so that a method keeps its style.

    From the seventeenth name on, colours repeat with other markers; the 129th looks like the first.
    """
    found = {}
    for i, name in enumerate(names):
        more = i // 8 % 2
        colour = (MORE_COLOURS if more else COLOURS)[i % 8]
        found[name] = {
            "color": colour,
            "marker": MARKERS[(i + 3 * (i // 16)) % 8],
            "linestyle": LINES[i % 8],
            "markerfacecolor": "white" if more else colour,
        }
    return found


@styled
def save(figure: Figure, base: Path) -> bytes:
    """Write ``base``.png, .pdf and .svg without dates and random names; return the bytes of the PNG."""
    metadata: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None},
        "svg": {"Date": None},
    }
    for kind in FORMATS:
        with whole(base.with_name(f"{base.name}.{kind}")) as beside:
            figure.savefig(beside, format=kind, metadata=metadata[kind])
            if kind == "png":
                _reduce_colours(beside)
    return base.with_name(f"{base.name}.png").read_bytes()


def _reduce_colours(path: Path) -> None:
    """Store a PNG with a palette of 256 colours, a third of the size, unless more than 1 % of its pixels change visibly."""
    with Image.open(path) as image:
        full = image.convert("RGB")
    light = full.quantize(256)
    apart = np.asarray(ImageChops.difference(full, light.convert("RGB"))).max(axis=2)
    (light if (apart > 16).mean() < 0.01 else full).save(path, format="png", optimize=True)


def draw_splits(
    axis: Axes,
    scores: pd.DataFrame,
    middles: pd.DataFrame,
    positions: Sequence[Any],
    styles: dict[str, dict[str, Any]],
    labels: dict[str, str] | None = None,
    filled: Callable[[Any], bool] | None = None,
    horizontal: bool = False,
) -> None:
    """Every split a dot, next to a marker with its interval: one group per position, one marker per series within it.

    Parameters
    ----------
    scores
        Columns ``position, series, value``, one row per split.
    middles
        Columns ``position, series, value, low, high``, one row per marker.
    positions
        Values of ``position`` in the order of the axis.
    styles
        Plot keywords of each series, in their order within a group.
    labels
        Names for the legend [default: none].
    filled
        Whether the marker at a position is filled [default: as the style says].
    horizontal
        Positions from top to bottom instead of from left to right.
    """
    names, place = list(styles), {position: i for i, position in enumerate(positions)}
    step = 0.8 / len(names)
    dots = scores[scores["position"].isin(positions)].dropna(subset="value")
    if len(dots):
        shift = 0.3 * step
        moved = dots.assign(place=dots["position"].map(place), series=pd.Categorical(dots["series"], names))
        before = len(axis.collections)
        sns.stripplot(
            moved, x="value" if horizontal else "place", y="place" if horizontal else "value", hue="series", hue_order=names,
            order=range(len(positions)), orient="h" if horizontal else "v", dodge=len(names) > 1, jitter=False, legend=False,
            palette={name: style["color"] for name, style in styles.items()}, alpha=0.5, size=2.4, linewidth=0, ax=axis,
        )  # fmt: skip
        for collection in axis.collections[before:]:
            offset = np.array([0.0, shift] if horizontal else [shift, 0.0])
            collection.set_offsets(np.asarray(collection.get_offsets()) + offset)
    # an interval that is much wider than the splits are spread ends in an arrow, so that it does not hide the others
    known = np.concatenate([dots["value"], middles["value"].dropna()])
    reach = 0.5 * np.ptp(known) if horizontal and len(dots) else np.inf
    least, most = (known.min() - reach, known.max() + reach) if len(known) else (-np.inf, np.inf)
    for i, name in enumerate(names):
        part, style = middles[middles["series"] == name], styles[name]
        label = (labels or {}).get(name)
        for row in part.itertuples():
            at = place[row.position] + (i - (len(names) - 1) / 2) * step
            face = style.get("markerfacecolor", style["color"])
            face = face if filled is None else style["color"] if filled(row.position) else "white"
            line = axis.hlines if horizontal else axis.vlines
            line(at, max(row.low, least), min(row.high, most), color=style["color"], linewidth=1.1)
            for end, arrow in ((least, "<"), (most, ">")):
                if row.low < end < row.high:
                    axis.plot(end, at, arrow, color=style["color"], markersize=3)
            xy = (row.value, at) if horizontal else (at, row.value)
            axis.plot(
                *xy, linestyle="none", color=style["color"], marker=style["marker"], mfc=face, label=label, zorder=3
            )
            label = None
    limits, ticks = (-0.5, len(positions) - 0.5), range(len(positions))
    if horizontal:
        axis.set(ylim=limits[::-1], yticks=ticks, ylabel="")
    else:
        axis.set(xlim=limits, xticks=ticks, xlabel="")
    axis.grid(axis="y" if horizontal else "x", visible=False)


def shade_groups(axis: Axes, count: int) -> None:
    """Shade every other group, so that markers side by side are read as one group."""
    for i in range(0, count, 2):
        axis.axvspan(i - 0.5, i + 0.5, color="#F2F2F2", linewidth=0, zorder=0)


def panels(
    count: int, height: float, across: int = 4, extra: float = 0.0, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels, each ``height`` inches high, in rows of at most ``across`` of similar length."""
    rows = -(-count // across)
    columns = -(-count // rows)
    figure = Figure((PAGE if columns > 1 else COLUMN, rows * height + extra), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).ravel()
    for spare in axes[count:]:
        spare.remove()
    for axis in axes[max(0, count - columns) : count]:
        axis.xaxis.set_tick_params(labelbottom=True)
    return figure, list(axes[:count])


def label_left(axes: Sequence[Axes], label: str) -> None:
    """Label the y axis of the first panel of each row."""
    for axis in axes:
        spec = axis.get_subplotspec()
        axis.set_ylabel(label if spec is not None and spec.is_first_col() else "")


def legend(figure: Figure, axes: Sequence[Axes], across: int) -> None:
    """One legend for all panels: below them, or to the right of a single one."""
    found: dict[str, Any] = {}
    for axis in axes:
        for handle, label in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(label, handle)
    if not found:
        return
    if len(axes) == 1:
        figure.set_figwidth(PAGE * 0.8)
        figure.legend(found.values(), found.keys(), loc="outside right center")
    else:
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(across, len(found)))


def note(axis: Axes, text: str) -> None:
    """A few grey words in the middle of an empty panel."""
    axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes, color=GREY)


def image_grid(rows: int, columns: int, extra: float = 0.0, below: float = 0.24) -> tuple[Figure, np.ndarray]:
    """A page-wide grid of axes (rows, columns) for images, without ticks; ``below`` inches under each row for its text."""
    side = (PAGE - 0.7) / columns
    tight = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.02, wspace=0.02, hspace=0.02)
    figure = Figure((PAGE, rows * (side + below) + extra), layout=tight)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axis in grid.ravel():
        axis.set(xticks=[], yticks=[])
        axis.spines[:].set_visible(False)
    return figure, grid


def shrunk(image: np.ndarray, pixels: int) -> np.ndarray:
    """(3, h, w) uint8 -> (h, w, 3), the longer side at most ``pixels``."""
    small = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    small.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    return np.asarray(small)
