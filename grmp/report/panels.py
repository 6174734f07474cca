"""What figures of several panels share: their grid, one y label a row, one legend, one way to say that something is absent."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grmp.report.style import COLUMN, PAGE

ACROSS = 4  # panels side by side on a page


def panels(
    count: int, height: float, across: int = ACROSS, extra: float = 0.0, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A page-wide figure of ``count`` panels, ``height`` inches each, in rows as even as they come."""
    rows = -(-count // across)
    columns = -(-count // rows)
    width = PAGE if columns > 1 else COLUMN
    figure = Figure((width, rows * height + extra), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).ravel()
    for spare in axes[count:]:
        spare.remove()
    for axis in axes[max(0, count - columns) : count]:
        axis.xaxis.set_tick_params(labelbottom=True)
    return figure, list(axes[:count])


def label_left(axes: Sequence[Axes], label: str) -> None:
    """The y label, on the first panel of each row alone."""
    for axis in axes:
        spec = axis.get_subplotspec()
        if spec is not None and spec.is_first_col():
            axis.set_ylabel(label)


def legend(figure: Figure, axes: Sequence[Axes], across: int) -> None:
    """One legend for all panels: below them, or beside a single one."""
    handles, labels = max((a.get_legend_handles_labels() for a in axes), key=lambda found: len(found[1]))
    if len(axes) == 1:
        figure.set_figwidth(PAGE * 0.8)
        figure.legend(handles, labels, loc="outside right center")
    else:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(across, len(labels)) or 1)


def note(axis: Axes, text: str) -> None:
    """A few grey words in the middle of a panel that has nothing else to show."""
    axis.text(0.5, 0.5, text, ha="center", va="center", transform=axis.transAxes, color="#6E6E6E")


def every(points: int) -> int:
    """Markers so sparse that a line stays a line."""
    return max(1, points // 6)
