"""Scores of one grid of params.yaml: the table with published numbers below ours, and the curves against the labels."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grmp.report.notes import PUBLISHED_NOTE, SPLITS_NOTE, join, lacking, troubles
from grmp.report.panels import label_left, legend, note, panels
from grmp.report.published import BLANK, beside, published
from grmp.report.results import Results
from grmp.report.style import line_styles, styled
from grmp.report.table import Table, amount, merged, number, title, with_interval

Shots = Sequence[int | str]
PAPER = "GRMP-IQA"  # the paper's own name in published.csv
CAPTIONS = {
    "few_shot": "Few-shot assessment: {} labelled pictures",
    "full": "{} of the training side",
    "cross": "Trained on one database, tested on another: {} labels",
}
COLUMNS = ["database", "method", "shots", "metric", "median", "median_low", "median_high", "origin"]


def score_table(results: Results, kind: str, shots: Shots, metrics: Sequence[str] = ("srcc", "plcc")) -> Table | None:
    """Medians over splits with their intervals, database by database; published numbers below ours where there are any.

    ``kind`` names a grid (few_shot, full, cross); None where params.yaml leaves it empty.
    """
    grid, params, theirs = results.params.run.grids()[kind], results.params, published(results.root)
    if not results.cells(shots, kind):
        return None
    keyed = results.summary.set_index(["database", "method", "shots", "metric"])
    data, shown = [], []
    for database in grid.databases:
        best = {(k, m): _best(results.summary, database, grid.methods, k, m) for k in shots for m in metrics}
        for method in grid.methods:
            row = {"Database": title(database), "Method": params.methods[method].label}
            for metric in metrics:
                for k in shots:
                    name = f"{metric.upper()}, {amount(k)}"
                    if (database, method, k, metric) not in keyed.index:
                        row[name] = "–"
                        continue
                    one = keyed.loc[(database, method, k, metric)]
                    cell = with_interval(one["median"], one["median_low"], one["median_high"])
                    if one["scored"] < one["splits"]:
                        cell += f" ({one['scored']:.0f} of {one['splits']:.0f} splits)"
                    row[name] = f"**{cell}**" if method == best[k, metric] else cell
                    data.append(
                        (database, method, k, metric, *one[["median", "median_low", "median_high"]], "this run")
                    )
            shown.append(row)
        rows = beside(theirs, kind, database, shots)
        for name in rows["method"].drop_duplicates():
            row = {"Database": title(database), "Method": f"{name}, published"}
            for metric in metrics:
                for k in shots:
                    value = rows[(rows["method"] == name) & (rows["shots"] == k) & (rows["metric"] == metric)]["value"]
                    known = len(value) and pd.notna(value.iloc[0])
                    row[f"{metric.upper()}, {amount(k)}"] = number(value.iloc[0]) if known else "n.p."
                    if known:
                        data.append((database, name, k, metric, value.iloc[0], np.nan, np.nan, "published"))
            shown.append(row)
    frame = pd.DataFrame(shown)
    frame["Database"] = merged(frame["Database"])
    level = round(100 * params.evaluate.level)
    ours = results.summary[results.summary["database"].isin(grid.databases) & results.summary["shots"].isin(shots)]
    below = join(
        f"Median over {params.splits.count} splits with its {level}% bootstrap interval, protocol {params.protocol}; the heads "
        "give the number of labels or the share of the training side. Bold: the highest median, which is not a test.",
        SPLITS_NOTE,
        PUBLISHED_NOTE if (frame["Method"].str.endswith(", published")).any() else "",
        f"n.p.: {BLANK}." if (frame == "n.p.").to_numpy().any() else "",
        "; ".join(troubles(ours)),
        lacking(results, results.cells(shots, kind)),
    )
    caption = CAPTIONS[kind].format(", ".join(amount(k) for k in shots))
    return Table(pd.DataFrame(data, columns=COLUMNS), frame, caption, below)


def _best(summary: pd.DataFrame, database: str, methods: list[str], shots: int | str, metric: str) -> str | None:
    """The method with the highest median, where there are two to compare."""
    part = summary[(summary["database"] == database) & (summary["shots"] == shots) & (summary["metric"] == metric)]
    part = part[part["method"].isin(methods)].dropna(subset="median")
    return str(part.loc[part["median"].idxmax(), "method"]) if len(part) > 1 else None


@styled
def curves(results: Results, kind: str, shots: Shots, metric: str = "srcc") -> Figure | None:
    """Median over splits against the number of labels; every split is a dot, the bar is the interval of the median.

    One panel a database; None where nothing of the grid has been run.
    """
    grid = results.params.run.grids()[kind]
    scores = results.scores[results.scores["shots"].isin(shots) & results.scores["database"].isin(grid.databases)]
    if scores.empty or not grid.methods:
        return None
    below = 0.16 * -(-(len(grid.methods) + 2) // 3) if len(grid.databases) > 1 else 0  # the legend's three columns
    figure, axes = panels(len(grid.databases), 2.3, 3, below, sharey=True)
    for axis, database in zip(axes, grid.databases, strict=True):
        _draw(axis, results, kind, database, shots, metric)
        axis.set_title(title(database))
        axis.set_xticks(range(len(shots)), [amount(k) for k in shots])
        axis.set_xlim(-0.5, len(shots) - 0.5)
        axis.grid(axis="x", visible=False)
        axis.set_xlabel("labels, share of the training side" if "pct" in str(shots[0]) else "labelled pictures")
        if not (scores["database"] == database).any():
            note(axis, "not run")
    label_left(axes, metric.upper())
    legend(figure, axes, 3)

    return figure


def _draw(axis: Axes, results: Results, kind: str, database: str, shots: Shots, metric: str) -> None:
    """One database: every method's dots, bars and medians, side by side, and what was published."""
    names = results.params.run.grids()[kind].methods
    look, place = line_styles(results.params.methods), {k: i for i, k in enumerate(shots)}
    step = min(0.8 / len(names), 0.2)
    scores = results.scores[(results.scores["database"] == database) & results.scores["shots"].isin(shots)]
    summary = results.summary[(results.summary["database"] == database) & (results.summary["metric"] == metric)]
    for i, name in enumerate(names):
        style, shift = look[name], (i - (len(names) - 1) / 2) * step
        dots = scores[scores["method"] == name]
        middle = summary[(summary["method"] == name) & summary["shots"].isin(shots)]
        middle = middle.assign(place=middle["shots"].map(place)).sort_values("place")
        beside_ = dots["shots"].map(place) + shift + min(0.32 * step, 0.05)
        axis.plot(beside_, dots[metric], "o", color=style["color"], alpha=0.55, markersize=2.2, mew=0)
        x = middle["place"] + shift
        axis.vlines(x, middle["median_low"], middle["median_high"], color=style["color"], linewidth=0.9)
        axis.plot(x, middle["median"], label=results.params.methods[name].label, **style)
    rows = beside(published(results.root), kind, database, shots)
    rows = rows[rows["metric"] == metric].dropna(subset="value")
    ours, others = rows[rows["method"] == PAPER], rows[rows["method"] != PAPER]
    if len(ours):
        x = ours["shots"].map(place)
        axis.plot(x, ours["value"], "*", color="black", mfc="white", markersize=8, label=f"{PAPER}, published")
    if len(others):
        x = others["shots"].map(place) + 0.46
        axis.plot(x, others["value"], "_", color="#6E6E6E", markersize=5, label="other methods, published")
