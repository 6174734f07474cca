"""What each part of the method is worth, and how far the result hangs on its sizes: figures and tables of ``ablation``."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grmp.params import RunKey
from grmp.report.effects import Comparison, at, effects
from grmp.report.notes import join, lacking, signed
from grmp.report.panels import label_left, note, panels
from grmp.report.results import Results
from grmp.report.style import PAGE, line_styles, styled
from grmp.report.sweeps import Sweep, definition, differs_in, value_text
from grmp.report.table import Table, merged, with_interval


def corners(results: Results, full: str) -> dict[str, str]:
    """The methods that lack meta-prompt pre-training (mpp), the gradient rule (qgr) or both of what ``full`` has."""
    params, found = results.params, {"both": full}
    wanted = {"no mpp": {"prompts"}, "no qgr": {"rule", "strength"}, "neither": {"prompts", "rule", "strength"}}
    for name in params.methods:
        own = definition(params, name)
        for corner, keys in wanted.items():
            fits = own is not None and differs_in(params, full, name) == keys
            fits = fits and own is not None and (own["prompts"] == "random" or "prompts" not in keys)
            if fits and own is not None and (own["rule"] == "none" or "rule" not in keys):
                found.setdefault(corner, name)
    return found


def parts(results: Results, full: str) -> list[Comparison]:
    """The four questions of the two parts, each with and without the other, as far as the methods are defined."""
    c = corners(results, full)
    asked = [
        ("MPP, without the rule", "no qgr", "neither"),
        ("MPP, with the rule", "both", "no mpp"),
        ("QGR, from random prompts", "no mpp", "neither"),
        ("QGR, from meta-learned prompts", "both", "no qgr"),
    ]
    return [(question, c[a], c[b]) for question, a, b in asked if a in c and b in c]


@styled
def sweep_figure(
    results: Results, found: list[Sweep], databases: list[str], shots: int | str, metric: str = "srcc"
) -> Figure | None:
    """One row a setting, one column a database (two settings a row for a single one): medians with intervals, splits as dots.

    The filled marker is the value that the other experiments use.
    """
    scores, summary = (at(t, shots=shots) for t in (results.scores, results.summary))
    names = {name for s in found for _, name in s.points if name != s.base}
    if not found or not scores["method"].isin(names).any():
        return None
    if len(databases) == 1:
        figure, panes = panels(len(found), 1.5, 2, 0.15, sharey=True)
        for axis, one in zip(panes, found, strict=True):
            part, medians = at(scores, database=databases[0]), at(at(summary, database=databases[0]), metric=metric)
            draw_sweep(results, axis, one, part, medians, metric)
        panes[0].set_title(f"{databases[0]}, {shots} labels")
        label_left(panes, metric.upper())
        return figure
    figure = Figure((PAGE, 1.45 * len(found) + 0.15), layout="constrained")
    grid = figure.subplots(len(found), len(databases), squeeze=False, sharey="col")
    for number, (axes, one) in enumerate(zip(grid, found, strict=True)):
        for axis, database in zip(axes, databases, strict=True):
            part = at(scores, database=database)
            medians = at(at(summary, database=database), metric=metric)
            draw_sweep(results, axis, one, part, medians, metric)
            if number == 0:
                axis.set_title(f"{database}, {shots} labels")
        axes[0].set_ylabel(metric.upper())
    return figure


def draw_sweep(
    results: Results, axis: Axes, one: Sweep, scores: pd.DataFrame, summary: pd.DataFrame, metric: str
) -> None:
    """One panel: a sweep on one database."""
    style = line_styles(results.params.methods)[one.base]
    x, y = [], []
    for place, (_, name) in enumerate(one.points):
        dots, row = at(scores, method=name)[metric], at(summary, method=name)
        if row.empty:
            continue
        axis.plot(np.full(len(dots), place + 0.16), dots, "o", color=style["color"], alpha=0.55, markersize=2.2, mew=0)
        axis.vlines(place, row["median_low"], row["median_high"], color=style["color"], linewidth=1)
        face = style["color"] if name == one.base else "white"
        axis.plot(place, row["median"].iloc[0], color=style["color"], marker=style["marker"], mfc=face, zorder=3)
        x.append(place)
        y.append(row["median"].iloc[0])
    if not x:
        note(axis, "not run")
    elif one.ordered:
        axis.plot(x, y, color=style["color"], linewidth=0.7, zorder=1)
    axis.set_xticks(range(len(one.points)), [value_text(one.key, value) for value, _ in one.points])
    axis.set_xlim(-0.5, len(one.points) - 0.5)
    axis.grid(axis="x", visible=False)
    axis.locator_params(axis="y", nbins=5)
    axis.set_xlabel(one.title)


def sweep_table(
    results: Results, found: list[Sweep], databases: list[str], shots: int | str, metric: str = "srcc"
) -> Table:
    """Every value of every sweep: the median, and the mean paired difference to the value that the others use."""
    summary = at(at(results.summary, shots=shots), metric=metric)
    asked = [(s.title, name, s.base) for s in found for _, name in s.points if name != s.base]
    paired = at(effects(results, asked, metric), shots=shots)
    rows, shown, missing = [], [], []
    for one in found:
        for value, name in one.points:
            for database in databases:
                row = at(summary, database=database, method=name)
                effect = at(paired, question=one.title, method=name, against=one.base, database=database)
                text = value_text(one.key, value).replace("\n", " ")
                cells = {
                    "Setting": one.title,
                    "Value": text,
                    "Database": database,
                    metric.upper(): "–",
                    "Difference": "–",
                }
                if row.empty:
                    missing.append(RunKey(results.params.protocol, database, name, shots))
                else:
                    first = row.iloc[0]
                    cells[metric.upper()] = with_interval(first["median"], first["median_low"], first["median_high"])
                    rows.append((one.key, text, name, database, shots, *first[["median", "median_low", "median_high"]]))
                if name == one.base:
                    cells["Difference"] = "the value elsewhere"
                elif len(effect):
                    e = effect.iloc[0]
                    cells["Difference"] = signed(e["mean"], e["mean_low"], e["mean_high"])
                shown.append(cells)
    columns = ["setting", "value", "method", "database", "shots", "median", "median_low", "median_high"]
    frame = pd.DataFrame(shown, columns=["Setting", "Value", "Database", metric.upper(), "Difference"])
    repeated = frame[["Setting", "Value"]].eq(frame[["Setting", "Value"]].shift()).all(axis=1)
    frame["Value"] = frame["Value"].mask(repeated, "")
    frame["Setting"] = merged(frame["Setting"])
    text = (
        "Median over splits with its interval; the difference is the mean of paired ones to the value used elsewhere."
    )
    text = join(text, lacking(results, missing))
    if not found:
        text = (
            "No method of params.yaml sets one value alone (`set: {adapt.tuned_blocks: 0}`); add some to run.ablation."
        )
    return Table(pd.DataFrame(rows, columns=columns), frame, f"One setting at a time, {shots} labels", text)
