"""Accuracy against trained parameters, time and memory: table and figure of the notebook ``cost``."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grmp.report.plotting import finished, method_styles, note, panels, styled
from grmp.report.results import Results, at, title
from grmp.report.table import Table, amount, in_print, join, missing_runs

AXES = {"trained_values": "trained parameters", "seconds": "seconds per split", "memory": "peak GPU memory (MB)"}
BESIDE = 0.025  # of a logarithmic axis: at this distance two markers do not overlap


def cost_table(results: Results) -> Table:
    """Time, memory and trained parameters per protocol and method, all grids together.

    Times per split are of the number of labels with which most methods were run: grids differ in their numbers.
    """
    cost = results.cost
    of = cost.groupby("shots", sort=False)["method"].nunique()
    common = of.idxmax() if len(of) else 0
    seconds = (cost["seconds"] / results.params.splits.count).where(cost["shots"] == common)
    by = cost.assign(
        method=cost["method"].map(results.label), a_split=seconds, memory=cost["peak_bytes"].astype(float) / 1e6
    )
    data = by.groupby(["protocol", "method"], sort=False, as_index=False).agg(
        runs=("seconds", "size"),
        seconds=("seconds", "sum"),
        seconds_per_split=("a_split", "median"),
        peak_memory_mb=("memory", "max"),
        trained_parameters=("trained_values", "max"),
    )
    heads = {name: name.replace("_", " ").capitalize().replace(" mb", " (MB)") for name in data}
    shown = in_print(results, data, heads, {"seconds": 0, "seconds_per_split": 2, "peak_memory_mb": 0})
    shown["Trained parameters"] = [f"{v:,}" for v in data["trained_parameters"]]
    devices = ", ".join(sorted(set(cost["device"]))) or "none"
    threads = ", ".join(str(n) for n in sorted(set(cost["threads"]))) or "0"
    text = (
        f"Device: {devices}; CPU threads per process: {threads}. Times depend on the machine and its load; the time per split "
        f"is the median over runs with {amount(common)} labels; features that an earlier run of the process had computed "
        "count with the time that they took then. Peak memory is the allocated memory on a GPU; on a CPU that of the "
        "process, with libraries, without features of earlier runs that the run did not use."
    )
    return Table(data, shown, "Cost of the runs", join(text, missing_runs(results, results.params.run.run_keys())))


@styled
def cost_figure(results: Results, shots: int | str) -> Figure | None:
    """Median accuracy against trained parameters, seconds per split and, on a GPU, peak memory.

    One column per database, or one per axis if there is a single database. Markers that would overlap are moved apart;
    strokes on the axis stand at the values themselves.
    """
    keys, grid = ["database", "method", "shots"], results.grid
    cost = at(results.cost, protocol=results.params.protocol, shots=shots)
    middle = at(results.summary, metric="srcc", shots=shots)
    both = cost.merge(middle[[*keys, "splits", "median", "median_low", "median_high"]], on=keys)
    memory = both["peak_bytes"].astype(float).where(both["device"] != "cpu") / 1e6  # on a CPU mostly the libraries'
    both = both.assign(seconds=both["seconds"] / both["splits"], memory=memory)
    both = both[both["method"].isin(grid.methods)]
    if both.empty:
        return None
    styles = method_styles(results.params, grid.methods)
    known = [column for column in AXES if both[column].notna().any()]
    cells = [(column, database) for column in known for database in grid.databases]
    across = len(grid.databases) if len(grid.databases) > 1 else len(known)
    figure, axes = panels(len(cells), 1.7, across, 0.16 * -(-len(grid.methods) // 3), sharey=True)
    for axis, (column, database) in zip(axes, cells, strict=True):
        part = both[both["database"] == database]
        ratio = _log_scale(axis, both[column].dropna())
        part = part.assign(x=part[column] * ratio ** _moves(part[column], ratio))
        for name in grid.methods:
            here, style = part[part["method"] == name], styles[name] | {"linestyle": "none", "alpha": 0.8}
            axis.plot(here["x"], here["median"], **style)
            axis.vlines(here["x"], here["median_low"], here["median_high"], color=style["color"], linewidth=0.9)
        axis.plot(part[column], 0 * part[column], "|k", markersize=8, transform=axis.get_xaxis_transform())
        axis.set_xlabel(AXES[column])
        axis.set_title(title(database))
        if part.empty:
            note(axis, "not run")
    return finished(figure, axes, "SRCC")


def _moves(values: pd.Series, ratio: float) -> pd.Series:
    """By which part of a logarithmic axis, from its left end to ``ratio`` times that, each marker moves; 0 stays."""
    from scipy.optimize import isotonic_regression

    along = (np.log(values[values > 0]) / np.log(ratio)).sort_values(kind="stable")
    gaps = BESIDE * np.arange(len(along))  # the least moves after which neighbours are at least this far apart
    wanted = isotonic_regression(along - gaps).x + gaps if len(along) else along
    return (wanted - along).reindex(values.index, fill_value=0.0)


def _log_scale(axis: Axes, values: pd.Series) -> float:
    """A logarithmic axis, which also shows 0 if it occurs; returns its right end over its left one, or over the least value."""
    positive = values[values > 0]
    least, most = (float(positive.min()), float(positive.max())) if len(positive) else (1.0, 1.0)
    if len(positive) < len(values):
        right = most * 3
        axis.set_xscale("symlog", linthresh=least, linscale=0.6)
        axis.set_xlim(-0.3 * least, right)
        axis.set_xticks([0, *(10.0**p for p in range(12) if least <= 10.0**p <= right)])
        axis.minorticks_off()
    else:
        least, right = least / 1.6, most * 1.6
        axis.set_xscale("log")
        axis.set_xlim(least, right)
        if right < 128 * least:
            ticks = [m * 10.0**p for p in range(-6, 12) for m in (1, 2, 5)]
            axis.set_xticks([t for t in ticks if least <= t <= right])
            axis.xaxis.set_major_formatter("{x:g}")
            axis.minorticks_off()
    return right / least
