"""The contribution of each part of the method, and its sensitivity to one setting at a time: notebook ``ablation``."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grmp.params import Ablation, Pair, Params, RunKey
from grmp.report.comparisons import effects
from grmp.report.plotting import all_styles, draw_splits, finished, note, panels, styled
from grmp.report.results import Results, at, title, triples
from grmp.report.table import Table, join, merged, missing_runs, signed, with_interval


def sweeps(params: Params) -> list[Ablation]:
    """The ablations of ``adapt`` and ``prompts``; those of the rule are in the notebook ``gradient``."""
    return [one for one in params.ablations.values() if "." in one.key and len(one.points) > 1]


def value_text(key: str, value: Any) -> str:
    """A value as a tick label."""
    if key == "prompts.visual_layers" and value == 0:
        return "all"
    if isinstance(value, list):
        return " /\n".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


@styled
def sweep_figure(results: Results, found: list[Ablation], databases: list[str], shots: int | str) -> Figure | None:
    """Medians with intervals and every split a dot, against one setting at a time; one column per database.

    The filled marker is the value that all other experiments use. With one database, two settings share a row.
    """
    scores, summary = at(results.scores, shots=shots), at(results.summary, shots=shots, metric="srcc")
    names = {name for s in found for _, name in s.points if name != s.base}
    if not scores["method"].isin(names).any():
        return None
    cells = [(one, database) for one in found for database in databases]
    height, across, sharey = (1.5, 2, True) if len(databases) == 1 else (1.45, len(databases), "col")
    figure, axes = panels(len(cells), height, across, 0.15, sharey=sharey)
    for axis, (one, database) in zip(axes, cells, strict=True):
        draw_sweep(results, axis, one, at(scores, database=database), at(summary, database=database), "srcc")
    for axis, database in zip(axes, databases, strict=False):
        axis.set_title(f"{title(database)}, {shots} labels")
    return finished(figure, axes, "SRCC")


def draw_sweep(
    results: Results, axis: Axes, one: Ablation, scores: pd.DataFrame, middles: pd.DataFrame, metric: str
) -> None:
    """One panel: a sweep on one database. ``middles`` as for ``draw_splits``."""
    style, order = all_styles(results.params)[one.base], [name for _, name in one.points]
    dots, middles = (t.assign(point=t["method"], method=one.base) for t in (scores, middles))
    line = middles.drop_duplicates("point").set_index("point")["median"].reindex(order)
    if line.isna().all():
        note(axis, "not run")
    elif all(isinstance(value, int | float) for value, _ in one.points):
        line = line.reset_index(drop=True).dropna()
        axis.plot(line.index, line, color=style["color"], linewidth=0.7, zorder=1)
    draw_splits(axis, dots, middles, "point", metric, order, {one.base: style}, filled=one.base)
    axis.set_xticks(range(len(order)), [value_text(one.key, value) for value, _ in one.points])
    axis.locator_params(axis="y", nbins=5)
    axis.set_xlabel(one.title)


def sweep_table(results: Results, found: list[Ablation], databases: list[str], shots: int | str) -> Table:
    """Every value of every sweep: the median, and the mean paired difference to the default value."""
    summary = at(results.summary, shots=shots, metric="srcc")
    asked = [Pair(question=s.title, method=n, against=s.base) for s in found for _, n in s.points if n != s.base]
    paired = at(effects(results, asked), shots=shots)
    rows, shown, keys = [], [], []
    for one in found:
        for (value, name), database in ((point, d) for point in one.points for d in databases):
            text = value_text(one.key, value).replace("\n", " ")
            medians = triples(at(summary, database=database, method=name), "median")
            effect = at(paired, question=one.title, method=name, against=one.base, database=database)
            apart = effect[["mean", "low", "high"]].iloc[0] if len(effect) else (np.nan, np.nan, np.nan)
            rows += [(one.key, text, name, database, shots, *three, *apart) for three in medians]
            score = with_interval(*medians[0]) if medians else "–"
            head = one.title, text if database == databases[0] else "", title(database)
            shown.append((*head, score, "default" if name == one.base else signed(*apart)))
            keys.append(RunKey(results.params.protocol, database, name, shots))
    columns = ["setting", "value", "method", "database", "shots", "median", "median_low", "median_high"]
    columns += ["difference", "difference_low", "difference_high"]
    frame = pd.DataFrame(shown, columns=["Setting", "Value", "Database", "SRCC", "Difference"])
    frame["Setting"] = merged(frame["Setting"])
    text = (
        "Median over splits with its interval, and the mean paired difference to the default value (exploratory; its interval "
        "covers other images)."
    )
    text = join(text, missing_runs(results, keys))
    if not found:
        text = "No ablation of params.yaml changes a single setting; declare one under ablations."
    return Table(pd.DataFrame(rows, columns=columns), frame, f"One setting at a time, {shots} labels", text)
