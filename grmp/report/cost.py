"""What accuracy costs: trained values, seconds and memory, method by method."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullLocator

from grmp.report.notes import join, lacking
from grmp.report.panels import label_left, legend, note, panels
from grmp.report.results import Results
from grmp.report.style import line_styles, styled
from grmp.report.table import Table, merged, number

AXES = {"trained_values": "trained values", "seconds": "seconds a split", "memory": "peak memory (MB)"}


def cost_table(results: Results) -> Table:
    """What the runs took, protocol by protocol and method by method, all grids together."""
    label = {name: method.label for name, method in results.params.methods.items()}
    by = results.cost.assign(method=results.cost["method"].map(lambda m: label.get(m, m)))
    by = by.assign(a_split=by["seconds"] / results.params.splits.count, memory=megabytes(by["peak_bytes"]))
    data = (
        by.groupby(["protocol", "method"], sort=False)
        .agg(
            runs=("seconds", "size"),
            seconds=("seconds", "sum"),
            seconds_a_split=("a_split", "median"),
            peak_memory_mb=("memory", "max"),
            trained_values=("trained_values", "max"),
        )
        .reset_index()
    )
    shown = data.astype(object)
    shown["protocol"] = merged(data["protocol"])
    shown["seconds"] = [number(v, 0) for v in data["seconds"]]
    shown["seconds_a_split"] = [number(v, 2) for v in data["seconds_a_split"]]
    shown["peak_memory_mb"] = [number(v, 0) for v in data["peak_memory_mb"]]
    shown["trained_values"] = [f"{v:,}" for v in data["trained_values"]]
    devices = ", ".join(sorted(set(results.cost["device"]))) or "none"
    threads = ", ".join(str(n) for n in sorted(set(results.cost["threads"]))) or "0"
    text = (
        f"Device: {devices}; CPU threads of a process: {threads}. Seconds are those of the machine at hand, on which other "
        "processes may have run; the median is over runs. Memory is the process's at its highest, libraries and all, or what a "
        "GPU had allocated."
    )
    return Table(
        data,
        shown.rename(columns=_head),
        "What the runs took",
        join(text, lacking(results, results.params.run.run_keys())),
    )


def megabytes(values: pd.Series) -> pd.Series:
    """Bytes in MB; NaN where nobody measured."""
    return values.astype(float) / 1e6


def _head(column: str) -> str:
    return column.replace("_", " ").capitalize().replace(" mb", " (MB)")


@styled
def cost_figure(results: Results, shots: int | str, metric: str = "srcc") -> Figure | None:
    """Median accuracy against trained values, seconds a split and peak memory, a row each; one column a database."""
    keys = ["database", "method", "shots"]
    cost = results.cost[(results.cost["protocol"] == results.params.protocol) & (results.cost["shots"] == shots)]
    middle = results.summary[(results.summary["metric"] == metric) & (results.summary["shots"] == shots)]
    both = cost.merge(middle[[*keys, "splits", "median", "median_low", "median_high"]], on=keys)
    both = both.assign(seconds=both["seconds"] / both["splits"], memory=megabytes(both["peak_bytes"]))
    grid = results.grid
    both = both[both["method"].isin(grid.methods)]
    if both.empty:
        return None
    look = line_styles(results.params.methods)
    lines = -(-len(grid.methods) // 3)
    known = [column for column in AXES if both[column].notna().any()]
    figure, axes = panels(len(known) * len(grid.databases), 1.7, len(grid.databases), 0.16 * lines, sharey=True)
    columns = [(database, column) for column in known for database in grid.databases]
    for axis, (database, column) in zip(axes, columns, strict=True):
        part = both[both["database"] == database].set_index("method")
        for name in grid.methods:
            style = look[name] | {"linestyle": "none", "label": results.params.methods[name].label}
            here = part[part.index == name]
            axis.plot(here[column], here["median"], **style)
            axis.vlines(
                here[column], here["median_low"], here["median_high"], color=style["color"], linewidth=0.9, alpha=0.6
            )
        _scale(axis, both[column].dropna())
        axis.set_xlabel(AXES[column])
        axis.set_title(database)
        if part.empty:
            note(axis, "not run")
    label_left(axes, metric.upper())
    legend(figure, axes, 3)
    return figure


def _scale(axis: Axes, values: pd.Series) -> None:
    """A logarithmic axis that also has room for nothing at all, where something is nothing."""
    positive = values[values > 0]
    least, most = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 1.0)
    from_nothing = len(positive) < len(values)
    if from_nothing:
        axis.set_xscale("symlog", linthresh=least, linscale=0.6)
        axis.set_xlim(-0.3 * least, most * 3)
    else:
        axis.set_xscale("log")
        axis.set_xlim(least / 1.6, most * 1.6)
    finer = ((300, [1]), (20, [1, 3]), (4, [1, 2, 5]), (0, [1, 1.5, 2, 3, 5, 7]))
    within = next(steps for ratio, steps in finer if most / least > ratio)
    powers = 10.0 ** np.arange(np.floor(np.log10(least)), np.ceil(np.log10(most)) + 1)
    ticks = [m * p for p in powers for m in within if least / 1.5 <= m * p <= most * 1.5]
    # a tick below the least value would stand on that of 0
    axis.set_xticks([0, *(v for v in ticks if v >= least)] if from_nothing else ticks)
    axis.xaxis.set_minor_locator(NullLocator())
    if most < 10_000:
        axis.xaxis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))
