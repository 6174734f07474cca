"""Distortion by distortion and level by level (results/distortions.csv): figures and tables of ``distortions``."""

import textwrap

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure

from grmp.report.effects import at
from grmp.report.panels import label_left, legend, panels
from grmp.report.results import Results
from grmp.report.style import PAGE, line_styles, styled
from grmp.report.table import Table, merged, number

MAP = "cividis"  # its lightness grows evenly: as good in black and white, and with any colour vision


def by_distortion(results: Results, methods: list[str], shots: int | str) -> pd.DataFrame:
    """Median SRCC over splits of every distortion type, all levels together: ``database, distortion`` and a column a method."""
    table = at(results.distortions, shots=shots)
    table = table[
        table["method"].isin(methods) & table["level"].isna() & table["database"].isin(results.grid.databases)
    ]
    if table.empty:
        return pd.DataFrame(columns=["database", "distortion", *methods])
    wide = table.pivot_table("srcc", ["database", "distortion"], "method", "median", sort=False, dropna=False)
    order = {name: i for i, name in enumerate(results.params.data.databases)}
    wide = wide.reindex(columns=methods).reset_index()
    return wide.sort_values(
        ["database", "distortion"], key=lambda c: c.map(order).fillna(0) if c.name == "database" else c
    )


@styled
def heat_map(results: Results, methods: list[str], shots: int | str) -> Figure | None:
    """SRCC of every distortion type (rows) under every method (columns), a panel a database; each cell holds its number."""
    table = by_distortion(results, methods, shots).dropna(subset=methods, how="all")
    if table.empty:
        return None
    found = dict(iter(table.groupby("database", sort=False)))
    tallest = max(len(part) for part in found.values())
    across = min(len(found), 2)
    down = -(-len(found) // across)
    figure = Figure((PAGE if across > 1 else 0.6 * PAGE, down * (0.17 * tallest + 1.0)), layout="constrained")
    axes = figure.subplots(down, across, squeeze=False).ravel()
    for spare in axes[len(found) :]:
        spare.remove()
    norm = Normalize(min(0.0, float(np.nanmin(table[methods]))), 1)
    for axis, (database, part) in zip(axes, found.items(), strict=False):
        _cells(axis, part[methods].to_numpy(float), norm)
        names = [results.params.methods[m].label for m in methods]
        if len(methods) > 4:
            axis.set_xticks(range(len(methods)), names, rotation=90)
        else:
            axis.set_xticks(range(len(methods)), [textwrap.fill(name, 10) for name in names])
        axis.set_yticks(range(len(part)), [d.replace("_", " ") for d in part["distortion"]])
        axis.set_title(f"{database}, {shots} labels")
    return figure


def _cells(axis: Axes, values: np.ndarray, norm: Normalize) -> None:
    """A heat map whose cells hold their numbers."""
    axis.imshow(values, cmap=MAP, norm=norm, aspect="auto", interpolation="none")
    for (row, column), value in np.ndenumerate(values):
        dark = np.isfinite(value) and norm(value) < 0.5
        axis.text(
            column, row, number(value, 2), ha="center", va="center", fontsize=6, color="white" if dark else "black"
        )
    axis.grid(visible=False)
    axis.tick_params(length=0)
    axis.spines[:].set_visible(False)


@styled
def by_level(results: Results, methods: list[str], shots: int | str) -> Figure | None:
    """SRCC among the pictures of one level, of whatever distortion type, against the level; every split is a dot."""
    table = at(results.distortions, shots=shots)
    table = table[table["method"].isin(methods) & table["level"].notna() & table["srcc"].notna()]
    table = table[table["database"].isin(results.grid.databases)]
    if table.empty:
        return None
    table = table.assign(level=table["level"].astype(float))
    means = table.groupby(["database", "method", "split", "level"], sort=False, as_index=False)["srcc"].mean()
    databases = [d for d in results.params.data.databases if d in set(means["database"])]
    look = line_styles(results.params.methods)
    figure, axes = panels(len(databases), 2.0, 3, 0.16 * -(-len(methods) // 3), sharey=True)
    step = 0.7 / len(methods)
    for axis, database in zip(axes, databases, strict=True):
        part = means[means["database"] == database]
        levels = sorted(part["level"].unique())
        for i, name in enumerate(methods):
            of_method, shift = part[part["method"] == name], (i - (len(methods) - 1) / 2) * step
            x = of_method["level"].map(levels.index) + shift
            axis.plot(x, of_method["srcc"], "o", color=look[name]["color"], alpha=0.45, markersize=2, mew=0)
            middle = of_method.groupby("level")["srcc"].median()
            place = [levels.index(v) + shift for v in middle.index]
            style = look[name] | {"markersize": 3.5, "linewidth": 0.8}
            axis.plot(place, middle, label=results.params.methods[name].label, **style)
        axis.set_xticks(range(len(levels)), [f"{v:g}" for v in levels])
        axis.set_xlabel("level (higher: stronger)")
        axis.set_title(f"{database}, {shots} labels")
        axis.grid(axis="x", visible=False)
    label_left(axes, "SRCC within a level")
    legend(figure, axes, 3)
    return figure


def distortion_table(results: Results, methods: list[str], shots: int | str, pair: tuple[str, str] | None) -> Table:
    """The heat map's numbers, and the mean over splits of the difference between the two methods of ``pair``."""
    data = by_distortion(results, methods, shots)
    label = {name: results.params.methods[name].label for name in methods}
    shown = pd.DataFrame({"Database": merged(data["database"]), "Distortion": data["distortion"]})
    for name in methods:
        shown[label[name]] = [number(v) for v in data[name].astype(float)]
    text = "Median SRCC over splits of the test pictures of one distortion type, all levels together."
    if pair is not None:
        table = at(results.distortions, shots=shots)
        table = table[table["level"].isna()]
        wide = table.pivot_table("srcc", ["database", "distortion", "split"], "method", "first", dropna=False)
        wide = wide.reindex(columns=list(pair)).astype(float)
        gain = (wide[pair[0]] - wide[pair[1]]).groupby(["database", "distortion"]).mean()
        keys = zip(data["database"], data["distortion"], strict=True)
        data = data.assign(difference=[gain.get(key, np.nan) for key in keys])
        shown["Difference"] = [("+" if v > 0 else "") + number(v) for v in data["difference"]]
        text += f" Difference: {label[pair[0]]} − {label[pair[1]]}, mean over splits."
    if data.empty:
        text = "–: not run; a database with distortion types and `dvc repro` fill this."
    return Table(data, shown, f"SRCC by distortion type, {shots} labels", text)
