"""Meta-prompt pre-training: tables and figures of the notebook ``meta_training``."""

import textwrap
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from grmp.params import Triplets
from grmp.report.plotting import COLOURS, finished, line_styles, panels, styled
from grmp.report.results import Results, at, kind_title, title
from grmp.report.table import Table, in_print, join, merged, not_run, number

STARTS: dict[str, dict[str, Any]] = {
    "random": {"color": COLOURS[2], "marker": "o", "linestyle": "--", "mfc": "white", "label": "random start"},
    "meta": {"color": COLOURS[3], "marker": "D", "linestyle": "-", "label": "meta-learned start"},
}


def _losses(results: Results) -> pd.DataFrame:
    """The losses of all pre-trained variants, with a column ``variant``."""
    found = {name: results.csv(f"results/pretrain/{name}.csv") for name in results.params.pretrain.variants}
    tables = [table.assign(variant=name) for name, table in found.items() if len(table)]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame(columns=["variant", "database"])


def _cross_entropies(results: Results) -> pd.DataFrame:
    """The same of the variants whose loss is the cross-entropy with the ratings."""
    table, variants = _losses(results), results.params.variants
    return table[~table["variant"].isin([name for name, variant in variants.items() if isinstance(variant, Triplets)])]


def _first_run(results: Results) -> str:
    seeds = results.params.pretrain.seeds
    return f"The first of {seeds} runs of pre-training. " if seeds > 1 else ""


def _styles(results: Results) -> dict[str, dict[str, Any]]:
    """Styles of the variants, from the fourth on: the first, grey and dotted, is that of the frozen backbone elsewhere."""
    styles = line_styles(["", " ", "  ", *results.params.variants])
    return {name: styles[name] | {"label": results.variant_label(name)} for name in results.params.variants}


def loss_table(results: Results) -> Table:
    """Mean query loss over tasks in the first and the last epoch, per variant and database; triplets have another loss."""
    table, rows = _losses(results), []
    for (name, database), part in table.groupby(["variant", "database"], sort=False):
        by = part.pivot(index="task", columns="epoch", values="query_loss")
        first, last = by.iloc[:, 0], by.iloc[:, -1]
        rows.append((name, database, *by.shape, first.mean(), last.mean(), int((last < first).sum())))
    absent = [f"pretrain@{name}" for name in results.params.pretrain.variants if name not in set(table["variant"])]
    columns = ["variant", "database", "tasks", "epochs", "first query loss", "last query loss", "tasks whose loss fell"]
    data = pd.DataFrame(rows, columns=columns)
    shown = in_print(results, data, {name: name.capitalize() for name in columns}, dict.fromkeys(columns[4:6], 4))
    text = (
        f"{_first_run(results)}Mean over tasks of the cross-entropy on query images, in the first and the last epoch. Its "
        "target is quality in [0, 1], so the minimum is the entropy of the ratings; a constant prediction of 0.5 gives "
        "0.693. The loss of ordered distortions is a margin between distances of embeddings and cannot be compared with the "
        "others."
    )
    return Table(data, shown, "Meta-prompt pre-training", join(text, not_run(absent)))


@styled
def losses(results: Results) -> Figure | None:
    """Mean support and query cross-entropy over tasks against the epoch; the band holds the middle 80% of the tasks."""
    table = _cross_entropies(results)
    if table.empty:
        return None
    databases = [d for d in results.params.pretrain.databases if d in set(table["database"])]
    sides = [(d, side) for d in databases for side in ("support", "query")]
    figure, axes = panels(len(sides), 1.8, 2 if len(sides) == 2 else 4, 0.25, sharey=True)
    styles = _styles(results)
    for axis, (database, side) in zip(axes, sides, strict=True):
        for variant, part in at(table, database=database).groupby("variant", sort=False):
            by_epoch = part.groupby("epoch")[f"{side}_loss"]
            mean, low, high = by_epoch.mean(), by_epoch.quantile(0.1), by_epoch.quantile(0.9)
            axis.fill_between(mean.index, low, high, color=styles[variant]["color"], alpha=0.15, linewidth=0)
            axis.plot(mean.index, mean, markevery=max(1, len(mean) // 6), **styles[variant])
        axis.set_title(f"{title(database)}\n{side} images")
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return finished(figure, axes, "mean cross-entropy", across=2)


@styled
def task_losses(results: Results, database: str) -> Figure | None:
    """Query cross-entropy of each task of one pre-training database."""
    table, styles = at(_cross_entropies(results), database=database), _styles(results)
    if table.empty:
        return None
    figure, axes = _task_panels(table, "epoch")
    for axis, (_, one) in zip(axes, table.groupby("task"), strict=True):
        for variant, part in one.groupby("variant", sort=False):
            axis.plot(part["epoch"], part["query_loss"], **styles[variant] | {"marker": None})
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    return finished(figure, axes, "query loss", across=2)


def _task_panels(table: pd.DataFrame, label: str) -> tuple[Figure, list[Any]]:
    """One small panel per distortion type, in alphabetical order."""
    tasks = sorted(table["task"].unique())
    figure, axes = panels(len(tasks), 1.05, 5, 0.4, sharex=True, sharey=True)
    for axis, task in zip(axes, tasks, strict=True):
        axis.set_title(textwrap.fill(kind_title(task), 22), fontsize=6.5)
    for axis in axes[-5:]:
        axis.set_xlabel(label)
    return figure, axes


@styled
def inner_curves_figure(results: Results, variant: str, database: str) -> Figure | None:
    """Query loss against inner steps, from both starts; one panel per distortion type."""
    table = results.csv(f"results/inner_curves/{variant}.csv")
    if table.empty or (table := at(table, database=database)).empty:
        return None
    figure, axes = _task_panels(table, "inner steps")
    counts = sorted(table["steps"].unique())
    for axis, (_, one) in zip(axes, table.groupby("task"), strict=True):
        for start, part in one.groupby("start", sort=False):
            style = STARTS[start] | {"markersize": 3, "linewidth": 0.9}
            axis.plot(part["steps"].map(counts.index), part["query_loss"], **style)
        axis.set_xticks(range(len(counts)), [str(k) for k in counts])
    return finished(figure, axes, "query loss", across=2)


def inner_curves_table(results: Results) -> Table | None:
    """Mean loss and SRCC over distortion types after each number of inner steps, per variant, database and start.

    None if params.yaml asks for none.
    """
    if not results.params.inner_curves.variants:
        return None
    rows, absent = [], []
    for variant in results.params.inner_curves.variants:
        table = results.csv(f"results/inner_curves/{variant}.csv")
        if table.empty:
            absent.append(f"inner_curves@{variant}")
            continue
        by = table.groupby(["database", "seen", "start", "steps"], sort=False)
        means = by.agg(query_loss=("query_loss", "mean"), query_srcc=("query_srcc", "mean"), types=("task", "nunique"))
        rows.append(means.reset_index().assign(variant=variant))
    columns = ["variant", "database", "seen", "types", "start", "steps", "query_loss", "query_srcc"]
    data = pd.concat(rows, ignore_index=True)[columns] if rows else pd.DataFrame(columns=columns)
    counts, shown = sorted(set(data["steps"])), []
    for (variant, database, seen, types, start), part in data.groupby(columns[:5], sort=False):
        row = {"Variant": results.variant_label(variant), "Database": title(database)}
        row |= {"Pre-trained on": "yes" if seen else "no", "Types": types, "Start": start}
        values = part.set_index("steps")
        for name, measure in (("Loss", "query_loss"), ("SRCC", "query_srcc")):
            row |= {f"{name}, {k}": number(values[measure].get(k, np.nan)) for k in counts}
        shown.append(row)
    frame = pd.DataFrame(shown, columns=list(shown[0]) if shown else ["Variant", "Database", "Start"])
    frame["Variant"] = merged(frame["Variant"])
    text = (
        f"{_first_run(results)}Means over distortion types on query images after the number of inner steps in the column "
        "head. The random start is where pre-training began. Query images of a database used in pre-training were seen "
        "during pre-training."
    )
    return Table(data, frame, "Effect of a few inner steps", join(text, not_run(absent)))
