"""Scores per distortion type and level (results/distortions.csv): tables and figures of the notebook ``distortions``."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from grmp.report.plotting import PAGE, draw_splits, finished, medians, method_styles, panels, styled
from grmp.report.results import Results, at, kind_title, title
from grmp.report.table import Table, in_print, number


def _rows(results: Results, methods: Sequence[str], shots: int | str) -> pd.DataFrame:
    """Of the databases in the order of params.yaml, distortion types in alphabetical order."""
    table = at(results.distortions, shots=shots)
    table = table[table["method"].isin(methods) & table["database"].isin(results.grid.databases)]
    order = {name: i for i, name in enumerate(results.params.data.databases)}
    return table.sort_values(["database", "distortion"], key=lambda c: c.map(order) if c.name == "database" else c)


def by_distortion(results: Results, methods: list[str], shots: int | str) -> pd.DataFrame:
    """Median SRCC over splits per distortion type, all levels together: ``database, distortion``, one column per method."""
    table = _rows(results, methods, shots).query("level.isna()")
    if table.empty:
        return pd.DataFrame(columns=["database", "distortion", *methods])
    cells = pd.MultiIndex.from_frame(table[["database", "distortion"]].drop_duplicates())
    wide = table.groupby(["database", "distortion", "method"])["srcc"].median().unstack()
    return wide.reindex(index=cells, columns=methods).reset_index()


@styled
def heat_map(results: Results, methods: list[str], shots: int | str) -> Figure | None:
    """SRCC per distortion type (rows) and method (columns), one panel per database; each cell shows its value."""
    import seaborn as sns  # takes a second, and no other figure needs it

    table = by_distortion(results, methods, shots).dropna(subset=methods, how="all")
    if table.empty:
        return None
    found = dict(iter(table.groupby("database", sort=False)))
    figure, axes = panels(len(found), 0.17 * max(map(len, found.values())) + 1.0, 2)
    figure.set_figwidth(PAGE if len(found) > 1 else 0.6 * PAGE)
    low = min(0.0, float(np.nanmin(table[methods])))
    light = sns.light_palette("#7fb8da", as_cmap=True)  # seaborn writes dark numbers on all of it
    names = [textwrap.fill(results.label(m), 10) if len(methods) <= 4 else results.label(m) for m in methods]
    for axis, (database, part) in zip(axes, found.items(), strict=True):
        values = part[methods].to_numpy(float)
        texts = np.vectorize(lambda v: number(v, 2))(values)
        rows = [kind_title(kind) for kind in part["distortion"]]
        sns.heatmap(
            values, vmin=low, vmax=1, cmap=light, annot=texts, fmt="", annot_kws={"fontsize": 6}, cbar=False,
            xticklabels=names, yticklabels=rows, ax=axis,
        )  # fmt: skip
        axis.tick_params(length=0)
        axis.set_xticklabels(names, rotation=0 if len(methods) <= 4 else 90)
        axis.set_yticklabels(rows, rotation=0)
        axis.set_title(f"{title(database)}, {shots} labels")
    return figure


@styled
def by_level(results: Results, methods: list[str], shots: int | str) -> Figure | None:
    """SRCC among the images of one distortion level against the level; every split is a dot, the marker is their median."""
    table = _rows(results, methods, shots).dropna(subset=["level", "srcc"]).astype({"level": float})
    if table.empty:
        return None
    databases = table["database"].unique()
    figure, axes = panels(len(databases), 2.0, 3, 0.16 * -(-len(methods) // 3), sharey=True)
    for axis, database in zip(axes, databases, strict=True):
        part = at(table, database=database)
        levels = sorted(part["level"].unique())
        styles = method_styles(results.params, methods)
        draw_splits(axis, part, medians(part, "level", "srcc"), "level", "srcc", levels, styles)
        axis.set_xticks(range(len(levels)), [f"{v:g}" for v in levels])
        axis.set_xlabel("level (higher is stronger)")
        axis.set_title(f"{title(database)}, {shots} labels")
    return finished(figure, axes, "SRCC within a level")


def distortion_table(results: Results, methods: list[str], shots: int | str, pair: tuple[str, str] | None) -> Table:
    """The values of the heat map, and the mean difference over splits between the two methods of ``pair``."""
    data = by_distortion(results, methods, shots)
    heads = {"database": "Database", "distortion": "Distortion"} | {name: results.label(name) for name in methods}
    shown = in_print(results, data, heads)
    text = "Median SRCC over splits on the test images of one distortion type, all levels together."
    if pair is not None:
        table = _rows(results, pair, shots).query("level.isna()")
        wide = table.pivot_table("srcc", ["database", "distortion", "split"], "method", "first", dropna=False)
        wide = wide.reindex(columns=list(pair)).astype(float)
        gain = (wide[pair[0]] - wide[pair[1]]).groupby(["database", "distortion"]).mean()
        keys = zip(data["database"], data["distortion"], strict=True)
        data = data.assign(difference=[gain.get(key, np.nan) for key in keys])
        shown["Difference"] = [("+" if v > 0 else "") + number(v) for v in data["difference"]]
        text += (
            f" Difference: {results.label(pair[0])} − {results.label(pair[1])}, mean of the paired differences over "
            "splits, which may differ in sign from that of the medians; exploratory, without an interval."
        )
    if data.empty:
        text = "–: not run; add a database with distortion types to a grid and run `dvc repro`."
    return Table(data, shown, f"SRCC by distortion type, {shots} labels", text)
