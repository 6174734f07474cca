"""What accuracy costs: trained values and seconds, method by method."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import NullLocator

from grmp.report.notes import holes, join
from grmp.report.panels import label_left, legend, note, panels
from grmp.report.style import looks, styled
from grmp.report.table import Table, merged, number
from grmp.report.world import World

AXES = {"trained_values": "trained values", "seconds": "seconds a split"}


def cost_table(world: World) -> Table:
    """What the runs took, protocol by protocol and method by method, all grids together."""
    label = {name: method.label for name, method in world.params.methods.items()}
    by = world.cost.assign(method=world.cost["method"].map(lambda m: label.get(m, m)))
    by = by.assign(a_split=by["seconds"] / world.params.splits.count)
    data = (
        by.groupby(["protocol", "method"], sort=False)
        .agg(
            runs=("seconds", "size"),
            seconds=("seconds", "sum"),
            seconds_a_split=("a_split", "median"),
            trained_values=("trained_values", "max"),
        )
        .reset_index()
    )
    shown = data.astype(object)
    shown["protocol"] = merged(data["protocol"])
    shown["seconds"] = [number(v, 0) for v in data["seconds"]]
    shown["seconds_a_split"] = [number(v, 2) for v in data["seconds_a_split"]]
    shown["trained_values"] = [f"{v:,}" for v in data["trained_values"]]
    devices = ", ".join(sorted(set(world.cost["device"]))) or "none"
    threads = ", ".join(str(n) for n in sorted(set(world.cost["threads"]))) or "0"
    text = (
        f"Device: {devices}; CPU threads of a process: {threads}. Seconds are those of the machine at hand, on which other "
        "processes may have run; the median is over runs."
    )
    lacking = holes([world.params.run.stage(cell) for cell in world.missing()])
    return Table(data, shown.rename(columns=_head), "What the runs took", join(text, lacking))


def _head(column: str) -> str:
    return column.replace("_", " ").capitalize()


@styled
def cost_figure(world: World, shots: int | str, metric: str = "srcc") -> Figure | None:
    """Median accuracy against trained values (upper row) and seconds a split (lower row), one column a database."""
    keys = ["database", "method", "shots"]
    cost = world.cost[(world.cost["protocol"] == world.params.protocol) & (world.cost["shots"] == shots)]
    middle = world.summary[(world.summary["metric"] == metric) & (world.summary["shots"] == shots)]
    both = cost.merge(middle[[*keys, "splits", "median", "median_low", "median_high"]], on=keys)
    both = both.assign(seconds=both["seconds"] / both["splits"])
    grid = world.grid
    if both.empty:
        return None
    look = looks(world.params.methods)
    lines = -(-len(grid.methods) // 3)
    figure, axes = panels(2 * len(grid.databases), 1.7, len(grid.databases), 0.16 * lines, sharey=True)
    columns = [(database, column) for column in AXES for database in grid.databases]
    for axis, (database, column) in zip(axes, columns, strict=True):
        part = both[both["database"] == database].set_index("method")
        for name in grid.methods:
            style = look[name] | {"linestyle": "none", "label": world.params.methods[name].label}
            here = part[part.index == name]
            axis.plot(here[column], here["median"], **style)
            axis.vlines(
                here[column], here["median_low"], here["median_high"], color=style["color"], linewidth=0.9, alpha=0.6
            )
        _scale(axis, both[column])
        axis.set_xlabel(AXES[column])
        axis.set_title(database)
        if part.empty:
            note(axis, "not run")
    label_left(axes, metric.upper())
    legend(figure, axes, 3)
    return figure


def _scale(axis: Axes, values: pd.Series) -> None:
    """A logarithmic axis that also has room for nothing at all."""
    most = max(float(values.max()), 1.0)
    least = float(values[values > 0].min()) if (values > 0).any() else 1.0
    axis.set_xscale("symlog", linthresh=least, linscale=0.6)
    axis.set_xlim(-0.3 * least, most * 3)
    # a tick below the least value would stand on that of 0
    powers = 10.0 ** np.arange(np.ceil(np.log10(least)), np.floor(np.log10(most * 3)) + 1)
    axis.set_xticks([0, *powers])
    axis.xaxis.set_minor_locator(NullLocator())
