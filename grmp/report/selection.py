"""The protocol of the published code against a sound one: tables and figures of the notebook ``selection``."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from grmp.metrics import bootstrap
from grmp.params import Pair
from grmp.report.comparisons import OTHER_IMAGES_NOTE, effect_columns, effects
from grmp.report.plotting import all_styles, finished, panels, styled
from grmp.report.results import Results, at, title, triples
from grmp.report.table import SPLITS_NOTE, Table, amount, in_print, join, missing_runs, signed

CELL = ["database", "method", "shots"]


def unpaired(a: np.ndarray, b: np.ndarray, level: float, resamples: int, seed: int) -> tuple[float, float, float]:
    """Median of ``a`` minus median of ``b`` with its percentile bootstrap interval; each side is resampled independently.

    NaN values are excluded; the interval is NaN if a side has fewer than two values.
    """

    def apart(x: np.ndarray, y: np.ndarray, axis: int = -1) -> Any:
        return np.median(x, axis=axis) - np.median(y, axis=axis)

    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    fewest = min(len(a), len(b))
    ends = bootstrap((a, b), apart, level, resamples, seed) if fewest > 1 else (np.nan, np.nan)
    return float(apart(a, b)) if fewest else np.nan, *ends


def both_ways(results: Results, one: str, other: str) -> pd.DataFrame:
    """One row per run under both protocols: medians with intervals, and ``one`` minus ``other`` (``gain``)."""
    settings, both, rows = results.params.evaluate, [results.under(p) for p in (one, other)], []
    sides = [{k: g["srcc"].to_numpy(float) for k, g in each.scores.groupby(CELL)} for each in both]
    middles = [at(each.summary, metric="srcc").set_index(CELL) for each in both]
    cells = (key[1:] for key in results.params.run.run_keys() if key.protocol == one)
    for cell in (cell for cell in cells if cell in sides[0] and cell in sides[1]):
        row = dict(zip(CELL, cell, strict=True))
        for name, middle in zip((one, other), middles, strict=True):
            row |= {f"{name}{end}": middle.loc[cell, f"median{end}"] for end in ("", "_low", "_high")}
        gain = unpaired(sides[0][cell], sides[1][cell], settings.level, settings.resamples, settings.seed)
        rows.append(row | dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)))
    ends = [f"{name}{end}" for name in (one, other, "gain") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*CELL, *ends])


def asked(results: Results, *protocols: str) -> bool:
    """Whether params.yaml asks for runs under each of these protocols."""
    return {*protocols} <= {key.protocol for key in results.params.run.run_keys()}


def protocol_table(results: Results, one: str, other: str) -> Table | None:
    """Medians under two protocols and their difference; None if params.yaml does not ask for runs under both."""
    if not asked(results, one, other):
        return None
    data = both_ways(results, one, other)
    heads = {"database": "Database", "method": "Method", "shots": "Labels", one: one, other: other}
    shown = in_print(results, data, heads)
    shown[f"{one} − {other}"] = [signed(*v) for v in triples(data, "gain")]
    keys = results.params.run.run_keys()
    wanted = [key._replace(protocol=p) for key in keys if key.protocol == one for p in (one, other)]
    text = (
        "Median SRCC over splits. The two protocols draw different splits (departure 15) and may include "
        "different images (departure 14). The difference is therefore one of medians, and its interval is unpaired. It "
        "includes all departures, not only the selection of the epoch."
    )
    note = join(text, SPLITS_NOTE, missing_runs(results, [key for key in wanted if key in keys]))
    return Table(data, shown, f"SRCC under the {one} and the {other} protocol", note)


@styled
def protocol_figure(results: Results, one: str, other: str, shots: int | str) -> Figure | None:
    """Medians under both protocols, joined by a line: ``one`` hollow, ``other`` filled; one panel per database."""
    if not asked(results, one, other):
        return None
    data = both_ways(results, one, other)
    data = data[data["shots"] == shots]
    if data.empty:
        return None
    styles = all_styles(results.params)
    databases = list(dict.fromkeys(data["database"]))
    most = int(data.groupby("database").size().max())
    figure, axes = panels(len(databases), 0.2 * most + 0.6, 2, 0.2)
    for axis, database in zip(axes, databases, strict=True):
        part = data[data["database"] == database].reset_index(drop=True)
        for y, row in part.iterrows():
            colour = styles[row["method"]]["color"]
            axis.plot([row[one], row[other]], [y - 0.15, y + 0.15], color=colour, linewidth=0.6)
            for name, shift, fill in ((one, -0.15, "white"), (other, 0.15, colour)):
                axis.hlines(y + shift, row[f"{name}_low"], row[f"{name}_high"], color=colour, linewidth=0.9)
                axis.plot(row[name], y + shift, "o", color=colour, mfc=fill, markersize=4, zorder=3)
        for name, fill in ((one, "white"), (other, "black")):
            axis.plot([], [], "o", color="black", mfc=fill, label=f"{name} protocol")
        axis.set_yticks(range(len(part)), [results.label(name) for name in part["method"]])
        axis.set_ylim(len(part) - 0.4, -0.6)
        axis.grid(axis="y", visible=False)
        axis.set_title(f"{title(database)}, {amount(shots)} labels")
        axis.set_xlabel("SRCC")
        axis.locator_params(axis="x", nbins=5)
    return finished(figure, axes, across=2)


def reading_table(results: Results) -> Table | None:
    """The gain from selecting the epoch on the test split, all else equal: paired over splits; None if not run."""
    declared = [one for one in results.params.ablations.values() if one.key == "adapt.select"]
    points = [(name, one.base) for one in declared for value, name in one.points if value == "test"]
    asked = [Pair(question="", method=name, against=base) for name, base in points if name != base]
    data = effects(results, asked).drop(columns="question")
    if data.empty:
        return None
    note = join("Exploratory. Paired differences of SRCC on the same splits", OTHER_IMAGES_NOTE)
    return Table(data, effect_columns(results, data), "Gain from selecting the epoch on the test split", note)
