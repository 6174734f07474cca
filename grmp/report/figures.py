"""The figures: each a function of a world that returns a matplotlib Figure, or None where there is nothing to draw."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image

from grmp.databases.prepared import Prepared
from grmp.evaluate import fit_logistic, logistic
from grmp.report.published import few_shot, published
from grmp.report.style import COLUMN, PAGE, looks, styled
from grmp.report.world import World

ACROSS = 4  # panels side by side on a page


def _panels(
    count: int, height: float, across: int = ACROSS, extra: float = 0.0, sharex: bool = False, sharey: bool = False
) -> tuple[Figure, list[Axes]]:
    """A page-wide figure of ``count`` panels, ``height`` inches each, in rows as even as they come."""
    rows = -(-count // across)
    columns = -(-count // rows)
    width = PAGE if columns > 1 else COLUMN
    figure = Figure((width, rows * height + extra), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False, sharex=sharex, sharey=sharey).ravel()
    for spare in axes[count:]:
        spare.remove()
    for axis in axes[max(0, count - columns) : count]:
        axis.xaxis.set_tick_params(labelbottom=True)
    return figure, list(axes[:count])


def _label_left(axes: Sequence[Axes], label: str) -> None:
    """The y label, on the first panel of each row alone."""
    for axis in axes:
        spec = axis.get_subplotspec()
        if spec is not None and spec.is_first_col():
            axis.set_ylabel(label)


def _legend(figure: Figure, axes: Sequence[Axes], across: int) -> None:
    """One legend for all panels: below them, or beside a single one."""
    handles, labels = max((a.get_legend_handles_labels() for a in axes), key=lambda found: len(found[1]))
    if len(axes) == 1:
        figure.set_figwidth(PAGE * 0.8)
        figure.legend(handles, labels, loc="outside right center")
    else:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(across, len(labels)) or 1)


# ------------------------------------------------------------------------------------------------------------ databases


@styled
def histograms(world: World) -> Figure | None:
    """How the opinions of each prepared database are spread over its own range."""
    found = {n: d for n in world.params.data.databases if (d := world.database(n)) is not None}
    if not found:
        return None
    figure, axes = _panels(len(found), 1.35)
    for axis, (name, database) in zip(axes, found.items(), strict=True):
        low, high = database.info["range"]
        edges = np.linspace(low, high, 21) - 1e-6 * (
            high - low
        )  # a score on an edge counts to its right, whatever its last bit
        edges[-1] = high
        axis.hist(database.index["mos"], bins=edges, color="#8A8A8A", edgecolor="white", linewidth=0.3)
        axis.set_title(f"{name} ({len(database.index):,})")
        better = "" if database.info.get("higher_better", True) else " (less is better)"
        axis.set_xlabel(world.opinion(name) + better)
        axis.grid(axis="x", visible=False)
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    _label_left(axes, "pictures")
    return figure


@styled
def samples(world: World, count: int = 6, pixels: int = 72) -> Figure | None:
    """Pictures of each database from its lowest to its highest opinion, at equal steps of rank."""
    found = {n: d for n in world.params.data.databases if (d := world.database(n)) is not None}
    if not found:
        return None
    side = (PAGE - 0.5) / count
    tight = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.02, wspace=0.02, hspace=0.02)
    figure = Figure((PAGE, len(found) * (side + 0.24)), layout=tight)
    grid = figure.subplots(len(found), count, squeeze=False)
    for axes, (name, database) in zip(grid, found.items(), strict=True):
        order = np.argsort(database.index["quality"].to_numpy(), kind="stable")
        chosen = order[np.linspace(0, len(order) - 1, count).round().astype(int)]
        digits = max(0, 2 - int(np.log10(max(1.0, np.ptp(database.index["mos"])))))
        for axis, row in zip(axes, chosen, strict=True):
            axis.imshow(_picture(database, int(row), pixels), interpolation="none")
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
            axis.set_xlabel(f"{database.index['mos'].iloc[row]:.{digits}f}", fontsize=6.5)
        axes[0].set_ylabel(name)
    return figure


def _picture(database: Prepared, row: int, pixels: int) -> np.ndarray:
    """One picture as (h, w, 3), no larger than it is printed."""
    picture = Image.fromarray(np.ascontiguousarray(database.images[row].transpose(1, 2, 0)))
    picture.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    return np.asarray(picture)


# --------------------------------------------------------------------------------------------------------- pre-training


def _losses(world: World) -> pd.DataFrame:
    """The losses of all variants that were learned, with a column ``variant``."""
    tables = [t.assign(variant=v) for v in world.params.pretrain.variants if (t := world.pretrain(v)) is not None]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _variant_looks(world: World) -> dict[str, dict[str, Any]]:
    """Looks of the variants, from the fourth on: the first, grey and dotted, is the frozen backbone's among the methods."""
    return looks(["", " ", "  ", *world.params.variants])


@styled
def losses(world: World) -> Figure | None:
    """Mean support and query loss over tasks, epoch by epoch; the band holds the middle 80% of the tasks."""
    table = _losses(world)
    if table.empty:
        return None
    databases = [d for d in world.params.pretrain.databases if d in set(table["database"])]
    panels = [(d, side) for d in databases for side in ("support", "query")]
    figure, axes = _panels(len(panels), 1.7, 2 if len(panels) == 2 else ACROSS, 0.25, sharey=True)
    look = _variant_looks(world)
    for axis, (database, side) in zip(axes, panels, strict=True):
        for variant, part in table[table["database"] == database].groupby("variant", sort=False):
            by_epoch = part.groupby("epoch")[f"{side}_loss"]
            mean = by_epoch.mean()
            low, high = by_epoch.quantile(0.1), by_epoch.quantile(0.9)
            axis.fill_between(mean.index, low, high, color=look[variant]["color"], alpha=0.15, linewidth=0)
            axis.plot(mean.index, mean, label=variant, markevery=_every(len(mean)), **look[variant])
        axis.set_title(f"{database}: {side}")
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    _label_left(axes, "mean cross-entropy")
    _legend(figure, axes, 4)
    return figure


@styled
def task_losses(world: World, database: str) -> Figure | None:
    """Query loss of each task of one pre-training database, all variants."""
    table = _losses(world)
    if table.empty or database not in set(table["database"]):
        return None
    table = table[table["database"] == database]
    tasks = sorted(table["task"].unique())
    figure, axes = _panels(len(tasks), 1.05, 5, 0.4, sharex=True, sharey=True)
    look = _variant_looks(world)
    for axis, task in zip(axes, tasks, strict=True):
        for variant, part in table[table["task"] == task].groupby("variant", sort=False):
            style = look[variant] | {"marker": None}
            axis.plot(part["epoch"], part["query_loss"], label=variant, **style)
        axis.set_title(textwrap.fill(task.replace("_", " "), 22), fontsize=6.5)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axis in axes[-5:]:
        axis.set_xlabel("epoch")
    _label_left(axes, "query loss")
    _legend(figure, axes, 4)
    return figure


def _every(points: int) -> int:
    """Markers so sparse that a line stays a line."""
    return max(1, points // 6)


# ------------------------------------------------------------------------------------------------------------- few shot


@styled
def learning_curves(world: World, shots: Sequence[int], metric: str = "srcc") -> Figure | None:
    """Median over splits against the number of labels; every split is a dot, the bar is the interval of the median."""
    scores = world.scores[world.scores["shots"].isin(shots)]
    summary = world.summary[(world.summary["metric"] == metric) & world.summary["shots"].isin(shots)]
    databases = world.grid.databases
    if scores.empty:
        return None
    methods, theirs = world.grid.methods, published(world.folder)
    look, place = looks(world.params.methods), {k: i for i, k in enumerate(shots)}
    step = 0.8 / len(methods)
    below = 0.16 * -(-len(methods) // 3) if len(databases) > 1 else 0  # the legend's three columns
    figure, axes = _panels(len(databases), 2.3, 3, below, sharey=True)
    for axis, database in zip(axes, databases, strict=True):
        for i, name in enumerate(methods):
            style, shift = look[name], (i - (len(methods) - 1) / 2) * step
            dots = scores[(scores["database"] == database) & (scores["method"] == name)]
            middle = summary[(summary["database"] == database) & (summary["method"] == name)].sort_values("shots")
            beside = dots["shots"].map(place) + shift + 0.32 * step
            axis.plot(beside, dots[metric], "o", color=style["color"], alpha=0.55, markersize=2.2, mew=0)
            x = middle["shots"].map(place) + shift
            axis.vlines(x, middle["median_low"], middle["median_high"], color=style["color"], linewidth=0.9)
            axis.plot(x, middle["median"], label=world.params.methods[name].label, **style)
        rows_ = few_shot(theirs, database, list(shots))
        rows_ = rows_[(rows_["metric"] == metric) & (rows_["method"] == "GRMP-IQA")].dropna(subset="value")
        if len(rows_):
            x = rows_["shots"].map(place)
            axis.plot(x, rows_["value"], "*", color="black", mfc="white", markersize=8, label="GRMP-IQA, published")
        axis.set_title(database)
        axis.set_xticks(range(len(shots)), [str(s) for s in shots])
        axis.set_xlim(-0.5, len(shots) - 0.5)
        axis.grid(axis="x", visible=False)
        axis.set_xlabel("labelled pictures")
        if not (scores["database"] == database).any():
            axis.text(0.5, 0.5, "not run", ha="center", va="center", transform=axis.transAxes, color="#6E6E6E")
    _label_left(axes, metric.upper())
    _legend(figure, axes, 3)
    return figure


@styled
def forest(world: World, metric: str = "srcc") -> Figure | None:
    """Mean paired difference and its interval, question by question; every split is a dot."""
    pairs = world.pairs[(world.pairs["metric"] == metric) & world.pairs["mean"].notna()]
    if pairs.empty:
        return None
    keys = ["database", "method", "shots"]
    scores = {k: g.set_index("split")[metric] for k, g in world.scores.groupby(keys)}
    look = looks(world.params.methods)
    questions = pairs["question"].drop_duplicates().tolist()
    most = max((pairs["question"] == q).sum() for q in questions)
    figure, axes = _panels(len(questions), 0.19 * most + 0.55, 2)
    for axis, question in zip(axes, questions, strict=True):
        part = pairs[pairs["question"] == question].reset_index(drop=True)
        for y, row in enumerate(part.itertuples()):
            one, other = scores[row.database, row.method, row.shots], scores[row.database, row.against, row.shots]
            colour = look[row.method]["color"]
            axis.plot(one - other, np.full(len(one), y + 0.3), "o", color=colour, alpha=0.55, markersize=2.2, mew=0)
            axis.hlines(y, row.mean_low, row.mean_high, color=colour, linewidth=1.4)
            axis.plot(
                row.mean, y, color=colour, marker=look[row.method]["marker"], mfc=look[row.method]["markerfacecolor"]
            )
        axis.axvline(0, color="black", linewidth=0.7)
        axis.set_yticks(range(len(part)), [f"{r.database}, {r.shots}" for r in part.itertuples()])
        axis.set_ylim(len(part) - 0.4, -0.6)
        axis.locator_params(axis="x", nbins=6)
        axis.grid(axis="y", visible=False)
        axis.set_title(textwrap.fill(question, 50))
        label = {n: m.label for n, m in world.params.methods.items()}
        axis.set_xlabel(f"{metric.upper()}: {label[part['method'][0]]} −\n{label[part['against'][0]]}")
    return figure


# ---------------------------------------------------------------------------------------------------------- predictions


@styled
def scatter(world: World, methods: Sequence[str], shots: int, split: int) -> Figure | None:
    """Predicted against given quality on the test pictures of one split, with the logistic fit."""
    records = {(d, m): r for d in world.grid.databases for m in methods if (r := world.record(d, m, shots)) is not None}
    databases = [d for d in world.grid.databases if any(key[0] == d for key in records)]
    if not databases:
        return None
    look = looks(world.params.methods)
    width = COLUMN if len(methods) == 1 else PAGE
    figure = Figure((width, 1.45 * len(databases) + 0.2), layout="constrained")
    grid = figure.subplots(len(databases), len(methods), squeeze=False, sharey="row")
    for axes, database in zip(grid, databases, strict=True):
        axes[0].set_ylabel(f"{database}\n{world.opinion(database)}")
        for axis, name in zip(axes, methods, strict=True):
            axis.set_ylim(-0.05, 1.05)
            if database == databases[0]:
                axis.set_title(textwrap.fill(world.params.methods[name].label, 110 // len(methods)))
            if database == databases[-1]:
                axis.set_xlabel("predicted quality")
            record = records.get((database, name))
            if record is None or split >= record.run.splits or record.run.status[split] != "ok":
                why = "not run" if record is None else "no such split" if split >= record.run.splits else "failed"
                axis.text(0.5, 0.5, why, ha="center", va="center", transform=axis.transAxes, color="#6E6E6E")
                axis.set_xticks([])
                continue
            part = record.predictions[record.predictions["split"] == split]
            x, y = part["score"].to_numpy(), part["quality"].to_numpy()
            axis.plot(x, y, "o", color=look[name]["color"], alpha=0.45, markersize=2.2, mew=0)
            if np.isfinite(x).all() and np.ptp(x) > 0 and (fit := fit_logistic(y, x)) is not None:
                line = np.linspace(x.min(), x.max(), 200)
                axis.plot(line, logistic(line, *fit), color="black", linewidth=1)
            row = world.scores[(world.scores["database"] == database) & (world.scores["method"] == name)]
            row = row[(row["shots"] == shots) & (row["split"] == split)]
            if len(row):
                text = f"SRCC {row['srcc'].iloc[0]:.3f}"
                axis.text(0.03, 0.97, text, transform=axis.transAxes, va="top", fontsize=6.5, bbox=_BOX)
            axis.locator_params(axis="x", nbins=3)
    return figure


_BOX = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
