"""The style of all figures, and what several of them draw: splits with their median and interval, panels, rows of images.

Figures are plain ``matplotlib.figure.Figure`` objects without a backend, so no display is needed.
"""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.style import context
from PIL import Image, ImageChops

from grmp.files import whole
from grmp.params import Params

COLUMN, PAGE = 3.3, 6.9  # inches: widths of one column and of the page
STYLE = ["default", str(Path(__file__).parent / "paper.mplstyle")]  # the default first: no user's matplotlibrc applies
FORMATS = {"png": "Software", "pdf": "CreationDate", "svg": "Date"}  # and what differs between two runs
GREY = "#6E6E6E"
THUMBNAIL = 160

# The colours of Okabe and Ito without yellow, then eight of Tol's "muted" ones, with open markers: distinct within each
# eight for any colour vision. In black and white, marker and line style tell all sixteen apart.
COLOURS = (GREY, "#E69F00", "#56B4E9", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
MORE_COLOURS = ("#882255", "#999933", "#332288", "#44AA99", "#AA4499", "#117733", "#B8860B", "#661100")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LINES = (":", "-.", "--", "-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

styled = context(STYLE, after_reset=True)  # decorator of functions that draw


def line_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Plot keywords of each name, by its position.

    From the seventeenth name on, colours repeat with other markers, the second eight first; the 129th looks like the first.
    """
    found = {}
    for i, name in enumerate(names):
        colour = (MORE_COLOURS if (i // 8 + i // 16) % 2 else COLOURS)[i % 8]
        found[name] = {
            "color": colour,
            "marker": MARKERS[(i + 3 * (i // 16)) % 8],
            "linestyle": LINES[i % 8],
            "markerfacecolor": "white" if i // 8 % 2 else colour,
        }
    return found


def all_styles(params: Params) -> dict[str, dict[str, Any]]:
    """Plot keywords of every method, so that it keeps its style; the few-shot methods, drawn together, are the first."""
    return line_styles(sorted(params.methods, key=lambda name: name not in params.run.few_shot.methods))


def method_styles(params: Params, names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Plot keywords of methods, with their labels for the legend; the style is the same in all figures."""
    styles = all_styles(params)
    return {name: styles[name] | {"label": params.methods[name].label} for name in names}


@styled
def save(figure: Figure, base: Path) -> bytes:
    """Write ``base``.png, .pdf and .svg without dates and random names; return the bytes of the PNG."""
    for kind, varying in FORMATS.items():
        with whole(base.with_name(f"{base.name}.{kind}")) as beside:
            figure.savefig(beside, format=kind, metadata={varying: None})
            if kind == "png":
                # a palette of 256 colours, a third of the size, unless more than 1 % of the pixels change visibly
                full = Image.open(beside).convert("RGB")
                light = full.quantize(256)
                apart = np.asarray(ImageChops.difference(full, light.convert("RGB"))).max(axis=2)
                (light if (apart > 16).mean() < 0.01 else full).save(beside, format="png", optimize=True)
    return base.with_name(f"{base.name}.png").read_bytes()


def draw_splits(
    axis: Axes,
    scores: pd.DataFrame,
    middles: pd.DataFrame,
    by: str,
    value: str,
    positions: Sequence[Any],
    styles: dict[str, dict[str, Any]],
    filled: Any = None,
    horizontal: bool = False,
) -> None:
    """Every split a dot, next to a marker with its interval: one group per position, one marker per method within it.

    ``scores`` has the columns ``by``, ``method`` and ``value``, one row per split; ``middles`` has ``by, method, median,
    median_low, median_high``. ``positions`` are values of ``by`` in the order of the axis, from top to bottom if
    ``horizontal``; ``styles`` are plot keywords of each method, in their order within a group. Other rows are ignored.
    ``filled`` is the only position with a filled marker [default: all as the style says].
    """
    places, step = {position: i for i, position in enumerate(positions)}, 0.8 / len(styles)
    scores = scores[scores["method"].isin(styles) & scores[by].isin(positions)].dropna(subset=value)
    middles = middles[middles["method"].isin(styles) & middles[by].isin(positions)]
    # an interval that is much wider than all else ends in an arrow, so that it does not hide the rest
    drawn = axis.dataLim.intervalx
    known = np.concatenate([scores[value], middles["median"].dropna(), drawn[np.isfinite(drawn)]])
    reach = 0.5 * np.ptp(known) if horizontal and len(scores) else np.inf
    least, most = (known.min() - reach, known.max() + reach) if len(known) else (-np.inf, np.inf)
    for place, (name, style) in enumerate(styles.items()):
        shift = (place - (len(styles) - 1) / 2) * step
        colour, label = style["color"], style.get("label")
        dots, markers = scores[scores["method"] == name], middles[middles["method"] == name]
        at = dots[by].map(places) + shift + 0.3 * step
        x, y = (dots[value], at) if horizontal else (at, dots[value])
        axis.scatter(x, y, s=2.4**2, color=colour, alpha=0.5, linewidth=0, zorder=3)
        for position, middle, low, high in markers[[by, "median", "median_low", "median_high"]].itertuples(index=False):
            along = places[position] + shift
            line = axis.hlines if horizontal else axis.vlines
            line(along, max(low, least), min(high, most), color=colour, linewidth=1.1)
            for end, arrow in ((least, "<"), (most, ">")):
                if low < end < high:
                    axis.plot(end, along, arrow, color=colour, markersize=3)
            face = style["markerfacecolor"] if filled is None else colour if position == filled else "white"
            marker = {"linestyle": "none", "color": colour, "marker": style["marker"], "mfc": face, "zorder": 3}
            axis.plot(*((middle, along) if horizontal else (along, middle)), **marker, label=label)
            label = None
    limits, ticks = (-0.5, len(positions) - 0.5), range(len(positions))
    if horizontal:
        axis.set(ylim=limits[::-1], yticks=ticks)
    else:
        axis.set(xlim=limits, xticks=ticks)
        for i in ticks[::2] if len(styles) > 1 else ():
            axis.axvspan(i - 0.5, i + 0.5, color="#F2F2F2", linewidth=0, zorder=0)
    axis.grid(axis="y" if horizontal else "x", visible=False)


def medians(scores: pd.DataFrame, by: str, value: str) -> pd.DataFrame:
    """Medians over splits as ``draw_splits`` takes them, without intervals."""
    found = scores.groupby([by, "method"], as_index=False)[value].median().rename(columns={value: "median"})
    return found.assign(median_low=np.nan, median_high=np.nan)


def panels(count: int, height: float, across: int = 4, extra: float = 0.0, **share: Any) -> tuple[Figure, list[Axes]]:
    """A figure of ``count`` panels, each ``height`` inches high, in rows of at most ``across`` of similar length.

    ``share`` are ``sharex`` and ``sharey`` of :meth:`matplotlib.figure.Figure.subplots`.
    """
    rows = -(-count // across)
    columns = -(-count // rows)
    figure = Figure((PAGE if columns > 1 else COLUMN, rows * height + extra), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, **share).ravel()
    for spare in axes[count:]:
        spare.remove()
    for axis in axes[max(0, count - columns) : count]:
        axis.xaxis.set_tick_params(labelbottom=True)
    return figure, list(axes[:count])


def finished(figure: Figure, axes: Sequence[Axes], label: str = "", across: int = 3) -> Figure:
    """The figure with ``label`` on the y axis of the first panel of each row, and one legend for all panels.

    The legend is below the panels, with ``across`` columns, or to the right of a single panel.
    """
    found: dict[str, Any] = {}
    for axis in axes:
        spec = axis.get_subplotspec()
        axis.set_ylabel(label if spec is not None and spec.is_first_col() else "")
        for handle, name in zip(*axis.get_legend_handles_labels(), strict=True):
            found.setdefault(name, handle)
    if len(axes) == 1 and found:
        figure.set_figwidth(PAGE * 0.8)
        figure.legend(found.values(), found.keys(), loc="outside right center")
    elif found:
        figure.legend(found.values(), found.keys(), loc="outside lower center", ncols=min(across, len(found)))
    return figure


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


def shrunk(image: np.ndarray) -> np.ndarray:
    """(3, h, w) uint8 -> (h, w, 3), the longer side at most ``THUMBNAIL`` pixels."""
    small = Image.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0)))
    small.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS)
    return np.asarray(small)
