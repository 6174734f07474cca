"""Scores against the number of labels: table and curves of the notebooks ``few_shot`` and ``full_supervision``."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grmp.data import databases
from grmp.metrics import srcc
from grmp.report.plotting import GREY, draw_splits, finished, method_styles, note, panels, styled
from grmp.report.published import BLANK, PAPER, published_scores
from grmp.report.results import Results, at, title
from grmp.report.table import SPLITS_NOTE, Table, amount, in_print, join, merged, missing_runs, number, with_interval

Shots = Sequence[int | str]
CAPTIONS = {
    "few_shot": "Few-shot image quality assessment with {} labels",
    "full": "Training on {} of the labels",
    "cross": "Cross-database evaluation with {} labels",
    "ablation": "Every method of the ablation grid, {} labels",
}
PUBLISHED_NOTE = "Published values are quoted from their papers, with other splits, images and backbones."
COLUMNS = ["database", "method", "shots", "metric", "median", "median_low", "median_high", "origin"]


def score_table(
    results: Results, kind: str, shots: Shots, metrics: Sequence[str] = ("srcc", "plcc"), methods: Sequence[str] = ()
) -> Table | None:
    """Medians over splits with their intervals per database, and published numbers below ours.

    ``kind`` names a grid; None if params.yaml leaves it empty. ``methods`` selects rows [default: all].
    """
    grid, params = results.params.run.grids()[kind], results.params
    names = [m for m in grid.methods if not methods or m in methods]
    if not names or not results.run_keys(shots, kind):
        return None
    # methods that read what the others do not: all labels of the training side, or the test split
    tuned = {m: learns for m in names if (learns := params.adapting(m))}
    favoured = {m for m, t in tuned.items() if t.teacher == "quality" or params.for_method(m).adapt.select == "test"}
    summary = results.summary
    summary = summary[summary["database"].isin(grid.databases) & summary["shots"].isin(shots)]
    heads = {(k, m): f"{m.upper()}, {amount(k)}" for m in metrics for k in shots}
    data, shown = [], []
    for database in grid.databases:
        ours = {(r.method, r.shots, r.metric): r for r in at(summary, database=database).itertuples()}
        best: dict[Any, str] = {}  # the method with the highest median of each column, if there are two to compare
        for key in heads:
            fair = [ours[m, *key] for m in names if (m, *key) in ours and m not in favoured]
            medians = {one.method: one.median for one in fair if one.scored == one.splits}
            best |= {key: max(medians, key=lambda m: medians[m])} if len(medians) > 1 else {}
        for method in names:
            row = {"Database": title(database), "Method": results.label(method)} | dict.fromkeys(heads.values(), "–")
            for (k, metric), head in heads.items():
                if one := ours.get((method, k, metric)):
                    three = one.median, one.median_low, one.median_high
                    partly = f" ({one.scored:.0f} of {one.splits:.0f} splits)" if one.scored < one.splits else ""
                    cell = with_interval(*three) + partly
                    row[head] = f"**{cell}**" if method == best.get((k, metric)) else cell
                    data.append((database, method, k, metric, *three, "this run"))
            shown.append(row)
        theirs = published_scores(results, kind, database, shots)
        for name in theirs["method"].drop_duplicates():
            row = {"Database": title(database), "Method": f"{name}, published"} | dict.fromkeys(heads.values(), "n.p.")
            for (k, metric), head in heads.items():
                for value in at(theirs, method=name, shots=k, metric=metric)["value"].dropna()[:1]:
                    row[head] = number(value)
                    data.append((database, name, k, metric, value, np.nan, np.nan, "published"))
            shown.append(row)
    frame = pd.DataFrame(shown)
    frame["Database"] = merged(frame["Database"])
    text = join(
        f"Median over {params.splits.count} splits with its {round(100 * params.evaluate.level)}% bootstrap interval, protocol "
        f"{params.protocol}. Columns: metric and number (or share) of labels. Bold: highest median of the methods that have a "
        "score in every split, not a significance test.",
        "PLCC is of the raw scores, without a fit." if "plcc" in metrics else "",
        "Methods that know all labels, or choose their epoch on the test split, are not in bold." if favoured else "",
        SPLITS_NOTE,
        PUBLISHED_NOTE if frame["Method"].str.endswith(", published").any() else "",
        f"n.p.: {BLANK}." if (frame == "n.p.").to_numpy().any() else "",
        missing_runs(results, [key for key in results.run_keys(shots, kind) if key.method in names]),
    )
    caption = CAPTIONS[kind].format(", ".join(amount(k) for k in shots))
    return Table(pd.DataFrame(data, columns=COLUMNS), frame, caption, text)


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
    styles, summary = method_styles(results.params, grid.methods), at(results.summary, metric=metric)
    for axis, database in zip(axes, grid.databases, strict=True):
        part = at(scores, database=database)
        draw_splits(axis, part, at(summary, database=database), "shots", metric, shots, styles)
        _draw_published(axis, at(published_scores(results, kind, database, shots), metric=metric), shots)
        axis.set_title(title(database))
        axis.set_xticks(range(len(shots)), [amount(k) for k in shots])
        axis.set_xlabel("labelled share of the training set" if "pct" in str(shots[0]) else "labelled images")
        if part.empty:
            note(axis, "not run")
    return finished(figure, axes, metric.upper())


def _draw_published(axis: Axes, rows: pd.DataFrame, shots: Shots) -> None:
    """The paper's own values as stars, those of other methods as ticks at the right of each group."""
    rows = rows.dropna(subset="value")
    rows = rows.assign(place=rows["shots"].map({k: i for i, k in enumerate(shots)}))
    ours, others = rows[rows["method"] == PAPER], rows[rows["method"] != PAPER]
    if len(ours):
        label = f"{PAPER}, published"
        axis.plot(ours["place"], ours["value"], "*", color="black", mfc="white", markersize=8, label=label)
    if len(others):
        label = "other methods, published"
        axis.plot(others["place"] + 0.44, others["value"], "_", color=GREY, markersize=3, label=label)


def shared_table(results: Results, kind: str, shots: Shots, methods: Sequence[str] = ()) -> Table | None:
    """Median SRCC on all source images, and on those that pre-training has (not) seen; None where no database shares any."""
    groups = {"all": "All sources", "shared": "Shared with pre-training", "others": "Other sources"}
    rows = []
    for key in results.run_keys(shots, kind):
        entry = databases.known().get(key.database)
        shared = {s for d in results.params.pretrain.databases for s in (entry.shared.get(d, ()) if entry else ())}
        prepared = results.dataset(key.database) if shared and (not methods or key.method in methods) else None
        record = results.record(key.database, key.method, key.shots) if prepared else None
        if prepared is None or record is None:
            continue
        found = record.predictions.merge(prepared.index[["image", "reference"]], on="image")
        seen = found["reference"].isin(shared)
        parts = zip(groups, (found, found[seen], found[~seen]), strict=True)
        each = {name: [srcc(s["quality"], s["score"])[0] for _, s in part.groupby("split")] for name, part in parts}
        rows.append((*key[1:], *(pd.Series(values, dtype=float).median() for values in each.values())))
    if not rows:
        return None
    data = pd.DataFrame(rows, columns=["database", "method", "shots", *groups])
    shown = in_print(results, data, {"database": "Database", "method": "Method", "shots": "Labels"} | groups)
    note = "Images of shared sources are not new to the prompts. Not a significance test."
    return Table(data, shown, "SRCC by whether pre-training saw the source image", note)


def excluded_table(results: Results) -> Table | None:
    """Records that could not be used, or None."""
    excluded = results.table("excluded.csv")
    return Table(excluded, excluded.rename(columns=str.capitalize), "Excluded records") if len(excluded) else None
