"""The published protocol against the sound one: the same methods, databases and labels, judged both ways."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from scipy import stats

from grmp.params import Params, Tune
from grmp.report.effects import columns_of, effects
from grmp.report.notes import FEW_SPLITS_NOTE, SPLITS_NOTE, join, lacking, side, signed
from grmp.report.panels import legend, panels
from grmp.report.results import Results
from grmp.report.style import line_styles, styled
from grmp.report.table import Table, merged, with_interval

CELL = ["database", "method", "shots"]
READS_TEST = {"adapt.select": "test"}  # a method's `set` that lets it choose its epoch on the test split


def unpaired(a: np.ndarray, b: np.ndarray, level: float, resamples: int, seed: int) -> tuple[float, float, float]:
    """Median of ``a`` minus median of ``b`` with its percentile bootstrap interval, each side resampled by itself.

    NaN splits do not count; the interval is NaN where a side has fewer than two.
    """
    a, b = a[np.isfinite(a)], b[np.isfinite(b)]
    if not len(a) or not len(b):
        return np.nan, np.nan, np.nan
    value = float(np.median(a) - np.median(b))
    if min(len(a), len(b)) < 2:
        return value, np.nan, np.nan
    found = stats.bootstrap(
        (a, b),
        lambda x, y, axis: np.median(x, axis=axis) - np.median(y, axis=axis),
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return value, float(found.low), float(found.high)


def both_ways(results: Results, one: str, other: str, metric: str = "srcc") -> pd.DataFrame:
    """One row a cell run under both protocols: medians with intervals, and ``one`` minus ``other`` (``gain``)."""
    settings = results.params.evaluate
    scores = results.table("scores.csv")
    sides = [
        {k: g[metric].to_numpy(float) for k, g in scores[scores["protocol"] == p].groupby(CELL)} for p in (one, other)
    ]
    summary = results.table("summary.csv")
    summary = summary[summary["metric"] == metric]
    middles = [summary[summary["protocol"] == p].set_index(CELL) for p in (one, other)]
    rows = []
    for cell in (c[1:] for c in results.params.run.run_keys() if c[0] == one):
        if cell not in sides[0] or cell not in sides[1]:
            continue
        row = dict(zip(CELL, cell, strict=True))
        for name, middle in zip((one, other), middles, strict=True):
            row |= {f"{name}{end}": middle.loc[cell, f"median{end}"] for end in ("", "_low", "_high")}
        gain = unpaired(sides[0][cell], sides[1][cell], settings.level, settings.resamples, settings.seed)
        rows.append(row | dict(zip(("gain", "gain_low", "gain_high"), gain, strict=True)))
    ends = [f"{name}{end}" for name in (one, other, "gain") for end in ("", "_low", "_high")]
    return pd.DataFrame(rows, columns=[*CELL, *ends])


def _triples(data: pd.DataFrame, name: str) -> list[tuple[float, float, float]]:
    return list(data[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False, name=None))


def protocol_table(results: Results, one: str, other: str, metric: str = "srcc") -> Table:
    """Medians under two protocols and their difference, cell by cell."""
    data = both_ways(results, one, other, metric)
    label = {name: method.label for name, method in results.params.methods.items()}
    shown = pd.DataFrame(
        {
            "Database": merged(data["database"]),
            "Method": data["method"].map(label),
            "Labels": data["shots"].astype(str),
            one: [with_interval(*v) for v in _triples(data, one)],
            other: [with_interval(*v) for v in _triples(data, other)],
            f"{one} − {other}": [signed(*v) for v in _triples(data, "gain")],
            "Interval": [side(low, high, "ok") for _, low, high in _triples(data, "gain")],
        }
    )
    wanted = [
        cell._replace(protocol=p) for cell in results.params.run.run_keys() if cell[0] == one for p in (one, other)
    ]
    wanted = [cell for cell in wanted if cell in set(results.params.run.run_keys())]
    text = (
        f"Median {metric.upper()} over splits. The two protocols draw their splits differently (departure 15) and may hold "
        "other pictures (departure 14), so a difference is taken between medians and its interval is unpaired: each side is "
        "resampled by itself. It holds all departures together, not the choice of the epoch alone."
    )
    caption = f"{metric.upper()} under the {one} and under the {other} protocol"
    return Table(data.assign(protocol=one), shown, caption, join(text, SPLITS_NOTE, lacking(results, wanted)))


@styled
def protocol_figure(results: Results, one: str, other: str, shots: int | str, metric: str = "srcc") -> Figure | None:
    """Medians at one number of labels under both protocols, joined by a line: ``one`` hollow, ``other`` filled.

    One panel a database; None where no cell has been run under both.
    """
    data = both_ways(results, one, other, metric)
    data = data[data["shots"] == shots]
    if data.empty:
        return None
    look = line_styles(results.params.methods)
    databases = list(dict.fromkeys(data["database"]))
    most = int(data.groupby("database").size().max())
    figure, axes = panels(len(databases), 0.17 * most + 0.55, 2, 0.2)
    for axis, database in zip(axes, databases, strict=True):
        part = data[data["database"] == database].reset_index(drop=True)
        for y, row in part.iterrows():
            colour = look[row["method"]]["color"]
            axis.plot([row[one], row[other]], [y, y], color=colour, linewidth=1.1)
            for name, shift, fill in ((one, -0.13, "white"), (other, 0.13, colour)):
                axis.hlines(y + shift, row[f"{name}_low"], row[f"{name}_high"], color=colour, linewidth=0.6, alpha=0.7)
                axis.plot(row[name], y, "o", color=colour, mfc=fill, markersize=4, zorder=3)
        for name, fill in ((one, "white"), (other, "black")):
            axis.plot([], [], "o", color="black", mfc=fill, label=f"{name} protocol")
        labels = [results.params.methods[name].label for name in part["method"]]
        axis.set_yticks(range(len(part)), labels)
        axis.set_ylim(len(part) - 0.4, -0.6)
        axis.grid(axis="y", visible=False)
        axis.set_title(database)
        axis.set_xlabel(metric.upper())
        axis.locator_params(axis="x", nbins=5)
    legend(figure, axes, 2)
    return figure


def readers(params: Params) -> list[tuple[str, str]]:
    """(method that chooses its epoch on the test split, the same method without that), by their settings."""
    found = []
    for name, method in params.methods.items():
        if isinstance(method, Tune) and READS_TEST.items() <= method.set.items():
            rest = {k: v for k, v in method.set.items() if k not in READS_TEST}
            twin = method.model_copy(update={"set": rest, "label": ""})
            for other, base in params.methods.items():
                if isinstance(base, Tune) and base.model_copy(update={"label": ""}) == twin:
                    found.append((name, other))
    return found


def reading_table(results: Results, metric: str = "srcc") -> Table | None:
    """What choosing the epoch on the test split adds, everything else alike: paired over splits; None if nobody does."""
    asked = [("choosing the epoch on the test split", name, base) for name, base in readers(results.params)]
    data = effects(results, asked, metric).drop(columns=["question", "differences"])
    if data.empty:
        return None
    shown = columns_of(results, data, "mean", "median")
    shown["Interval"] = [side(low, high, "ok") for _, low, high in _triples(data, "mean")]
    few = FEW_SPLITS_NOTE if results.params.splits.count < 20 else ""
    text = f"Differences of {metric.upper()} on the same splits; the last column is about the mean's interval"
    return Table(data, shown, "What choosing the epoch on the test split adds", join(text, few, SPLITS_NOTE))
