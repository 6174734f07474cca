"""Scores against the number of labels: table and curves of the notebooks ``few_shot`` and ``full_supervision``."""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grmp.data import databases
from grmp.metrics import srcc
from grmp.report.plotting import GREY, draw_splits, label_left, legend, line_styles, note, panels, shade_groups, styled
from grmp.report.published import BLANK, PAPER, published_scores
from grmp.report.results import Results, title
from grmp.report.table import (
    PUBLISHED_NOTE,
    SPLITS_NOTE,
    Table,
    amount,
    incomplete,
    join,
    merged,
    missing_runs,
    number,
    with_interval,
)

Shots = Sequence[int | str]
CAPTIONS = {
    "few_shot": "Few-shot image quality assessment with {} labels",
    "full": "Training on {} of the labels",
    "cross": "Cross-database evaluation with {} labels",
}
COLUMNS = ["database", "method", "shots", "metric", "median", "median_low", "median_high", "origin"]


def score_table(
    results: Results, kind: str, shots: Shots, metrics: Sequence[str] = ("srcc", "plcc"), methods: Sequence[str] = ()
) -> Table | None:
    """Medians over splits with their intervals per database, and published numbers below ours.

    ``kind`` names a grid (few_shot, full, cross); None if params.yaml leaves it empty. ``methods`` selects rows [default: all].
    """
    if not results.run_keys(shots, kind):
        return None
    grid, params = results.params.run.grids()[kind], results.params
    names = [m for m in grid.methods if not methods or m in methods]
    keyed = results.summary.set_index(["database", "method", "shots", "metric"])
    data, shown = [], []
    for database in grid.databases:
        heads = {(k, m): f"{m.upper()}, {amount(k)}" for m in metrics for k in shots}
        best = {(k, m): _best(keyed, database, names, k, m) for k, m in heads}
        for method in names:
            row = {"Database": title(database), "Method": results.label(method)} | dict.fromkeys(heads.values(), "–")
            for (k, metric), head in heads.items():
                if (database, method, k, metric) in keyed.index:
                    one = keyed.loc[(database, method, k, metric)]
                    cell = with_interval(one["median"], one["median_low"], one["median_high"])
                    if one["scored"] < one["splits"]:
                        cell += f" ({one['scored']:.0f} of {one['splits']:.0f} splits)"
                    row[head] = f"**{cell}**" if method == best[k, metric] else cell
                    data.append(
                        (database, method, k, metric, *one[["median", "median_low", "median_high"]], "this run")
                    )
            shown.append(row)
        theirs = published_scores(results, kind, database, shots)
        for name in theirs["method"].drop_duplicates():
            row = {"Database": title(database), "Method": f"{name}, published"} | dict.fromkeys(heads.values(), "n.p.")
            for (k, metric), head in heads.items():
                part = theirs[(theirs["method"] == name) & (theirs["shots"] == k) & (theirs["metric"] == metric)]
                if part["value"].notna().any():
                    row[head] = number(part["value"].iloc[0])
                    data.append((database, name, k, metric, part["value"].iloc[0], np.nan, np.nan, "published"))
            shown.append(row)
    frame = pd.DataFrame(shown)
    frame["Database"] = merged(frame["Database"])
    summary = results.summary
    text = join(
        f"Median over {params.splits.count} splits with its {round(100 * params.evaluate.level)}% bootstrap interval, protocol "
        f"{params.protocol}. Columns: metric and number (or share) of labels. Bold: highest median, not a significance test.",
        SPLITS_NOTE,
        PUBLISHED_NOTE if frame["Method"].str.endswith(", published").any() else "",
        f"n.p.: {BLANK}." if (frame == "n.p.").to_numpy().any() else "",
        incomplete(summary[summary["database"].isin(grid.databases) & summary["shots"].isin(shots)]),
        missing_runs(results, [key for key in results.run_keys(shots, kind) if key.method in names]),
    )
    caption = CAPTIONS[kind].format(", ".join(amount(k) for k in shots))
    return Table(pd.DataFrame(data, columns=COLUMNS), frame, caption, text)


def _best(keyed: pd.DataFrame, database: str, methods: Sequence[str], shots: int | str, metric: str) -> str | None:
    """The method with the highest median if there are two to compare."""
    cells = {m: (database, m, shots, metric) for m in methods}
    medians = {m: keyed.loc[cell, "median"] for m, cell in cells.items() if cell in keyed.index}
    medians = {m: value for m, value in medians.items() if pd.notna(value)}
    return max(medians, key=lambda m: medians[m]) if len(medians) > 1 else None


@styled
def curves(results: Results, kind: str, shots: Shots, metric: str = "srcc") -> Figure | None:
    """Median over splits for each number of labels with its interval; every split is a dot. One panel per database.

    None if nothing of the grid was run, or if there is a single number of labels (the table says it all).
    """
    grid = results.params.run.grids()[kind]
    scores = results.scores[results.scores["shots"].isin(shots) & results.scores["database"].isin(grid.databases)]
    if scores.empty or len(shots) < 2:
        return None
    below = 0.16 * -(-(len(grid.methods) + 2) // 3) if len(grid.databases) > 1 else 0
    figure, axes = panels(len(grid.databases), 2.4, 3, below, sharey=True)
    summary = results.summary[results.summary["metric"] == metric]
    for axis, database in zip(axes, grid.databases, strict=True):
        _draw(axis, results, kind, database, shots, metric, scores, summary)
        axis.set_title(title(database))
        axis.set_xticks(range(len(shots)), [amount(k) for k in shots])
        axis.set_xlabel("labeled share of the training set" if "pct" in str(shots[0]) else "labeled images")
        if not (scores["database"] == database).any():
            note(axis, "not run")
    label_left(axes, metric.upper())
    legend(figure, axes, 3)
    return figure


def _draw(
    axis: Axes,
    results: Results,
    kind: str,
    database: str,
    shots: Shots,
    metric: str,
    scores: pd.DataFrame,
    summary: pd.DataFrame,
) -> None:
    """One database: all methods of a number of labels side by side in one shaded group, and published numbers."""
    styles = line_styles(results.params.methods)
    styles = {name: styles[name] for name in results.params.run.grids()[kind].methods}
    columns = {"shots": "position", "method": "series"}
    dots = scores[scores["database"] == database].rename(columns=columns | {metric: "value"})
    middles = summary[(summary["database"] == database) & summary["shots"].isin(shots) & summary["method"].isin(styles)]
    middles = middles.rename(columns=columns | {"median": "value", "median_low": "low", "median_high": "high"})
    shade_groups(axis, len(shots))
    labels = {name: results.label(name) for name in styles}
    draw_splits(axis, dots[dots["series"].isin(styles)], middles, list(shots), styles, labels)
    rows = published_scores(results, kind, database, shots)
    rows = rows[rows["metric"] == metric].dropna(subset="value")
    place = {k: i for i, k in enumerate(shots)}
    ours, others = rows[rows["method"] == PAPER], rows[rows["method"] != PAPER]
    if len(ours):
        x, label = ours["shots"].map(place), f"{PAPER}, published"
        axis.plot(x, ours["value"], "*", color="black", mfc="white", markersize=8, label=label)
    if len(others):
        x, label = others["shots"].map(place) + 0.46, "other methods, published"
        axis.plot(x, others["value"], "_", color=GREY, markersize=5, label=label)


def shared_table(results: Results, shots: Shots, methods: Sequence[str] = ()) -> Table | None:
    """Median SRCC on all source images, and on those that pre-training has (not) seen; None where no database shares any."""
    rows = []
    for key in results.run_keys(shots):
        entry = databases.known().get(key.database)
        shared = {
            s for name in results.params.pretrain.databases for s in (entry.shared.get(name, ()) if entry else ())
        }
        prepared = results.dataset(key.database) if shared and (not methods or key.method in methods) else None
        record = results.record(key.database, key.method, key.shots) if prepared else None
        if prepared is None or record is None:
            continue
        found = record.predictions.merge(prepared.index[["image", "reference"]], on="image")
        seen = found["reference"].isin(shared)
        row = {"database": key.database, "method": key.method, "shots": key.shots}
        for name, part in (("all", found), ("shared", found[seen]), ("others", found[~seen])):
            row[name] = (
                part.groupby("split")[["quality", "score"]].apply(lambda s: srcc(s["quality"], s["score"])[0]).median()
            )
        rows.append(row)
    if not rows:
        return None
    data, groups = pd.DataFrame(rows), ["all", "shared", "others"]
    shown = pd.DataFrame({"Database": merged(data["database"].map(title)), "Method": data["method"].map(results.label)})
    shown["Labels"] = data["shots"].map(amount)
    names = {"all": "All sources", "shared": "Shared with pre-training", "others": "Other sources"}
    shown = shown.join(data[groups].map(number).rename(columns=names))
    note = "Images of shared sources are not new to the prompts. Not a significance test."
    return Table(data, shown, "SRCC by whether pre-training saw the source image", note)


def excluded_table(results: Results) -> Table | None:
    """Records that could not be used, or None."""
    if not len(results.excluded):
        return None
    shown = results.excluded.rename(columns={"record": "Record", "reason": "Reason"})
    return Table(results.excluded, shown, "Excluded records")
