"""The figures: each a function of the results that returns a matplotlib Figure, or None where there is nothing to draw."""

import textwrap
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import MaxNLocator
from PIL import Image

from grmp.data.dataset import Dataset
from grmp.metrics import fit_logistic, logistic
from grmp.report.panels import ACROSS, every, label_left, legend, panels
from grmp.report.results import Results
from grmp.report.style import COLUMN, PAGE, line_styles, styled

# ------------------------------------------------------------------------------------------------------------ databases


@styled
def histograms(results: Results) -> Figure | None:
    """How the opinions of each prepared database are spread over its own range."""
    found = {n: d for n in results.params.data.databases if (d := results.database(n)) is not None}
    if not found:
        return None
    figure, axes = panels(len(found), 1.35)
    for axis, (name, database) in zip(axes, found.items(), strict=True):
        low, high = database.info["range"]
        edges = np.linspace(low, high, 21) - 1e-6 * (
            high - low
        )  # a score on an edge counts to its right, whatever its last bit
        edges[-1] = high
        axis.hist(database.index["mos"], bins=edges, color="#8A8A8A", edgecolor="white", linewidth=0.3)
        axis.set_title(f"{name} ({len(database.index):,})")
        better = "" if database.info.get("higher_better", True) else " (less is better)"
        axis.set_xlabel(results.opinion(name) + better)
        axis.grid(axis="x", visible=False)
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    label_left(axes, "pictures")
    return figure


@styled
def samples(results: Results, count: int = 6, pixels: int = 72) -> Figure | None:
    """Pictures of each database from its lowest to its highest opinion, at equal steps of rank."""
    found = {n: d for n in results.params.data.databases if (d := results.database(n)) is not None}
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


def _picture(database: Dataset, row: int, pixels: int) -> np.ndarray:
    """One picture as (h, w, 3), no larger than it is printed."""
    picture = Image.fromarray(np.ascontiguousarray(database.images[row].transpose(1, 2, 0)))
    picture.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    return np.asarray(picture)


# --------------------------------------------------------------------------------------------------------- pre-training


def _losses(results: Results) -> pd.DataFrame:
    """The losses of all variants that were learned, with a column ``variant``."""
    tables = [t.assign(variant=v) for v in results.params.pretrain.variants if (t := results.pretrain(v)) is not None]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def _variant_looks(results: Results) -> dict[str, dict[str, Any]]:
    """Looks of the variants, from the fourth on: the first, grey and dotted, is the frozen backbone's among the methods."""
    return line_styles(["", " ", "  ", *results.params.variants])


@styled
def losses(results: Results) -> Figure | None:
    """Mean support and query loss over tasks, epoch by epoch; the band holds the middle 80% of the tasks."""
    table = _losses(results)
    if table.empty:
        return None
    databases = [d for d in results.params.pretrain.databases if d in set(table["database"])]
    sides = [(d, side) for d in databases for side in ("support", "query")]
    figure, axes = panels(len(sides), 1.7, 2 if len(sides) == 2 else ACROSS, 0.25, sharey=True)
    look = _variant_looks(results)
    for axis, (database, side) in zip(axes, sides, strict=True):
        for variant, part in table[table["database"] == database].groupby("variant", sort=False):
            by_epoch = part.groupby("epoch")[f"{side}_loss"]
            mean = by_epoch.mean()
            low, high = by_epoch.quantile(0.1), by_epoch.quantile(0.9)
            axis.fill_between(mean.index, low, high, color=look[variant]["color"], alpha=0.15, linewidth=0)
            axis.plot(mean.index, mean, label=variant, markevery=every(len(mean)), **look[variant])
        axis.set_title(f"{database}: {side}")
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    label_left(axes, "mean cross-entropy")
    legend(figure, axes, 4)
    return figure


@styled
def task_losses(results: Results, database: str) -> Figure | None:
    """Query loss of each task of one pre-training database, all variants."""
    table = _losses(results)
    if table.empty or database not in set(table["database"]):
        return None
    table = table[table["database"] == database]
    tasks = sorted(table["task"].unique())
    figure, axes = panels(len(tasks), 1.05, 5, 0.4, sharex=True, sharey=True)
    look = _variant_looks(results)
    for axis, task in zip(axes, tasks, strict=True):
        for variant, part in table[table["task"] == task].groupby("variant", sort=False):
            style = look[variant] | {"marker": None}
            axis.plot(part["epoch"], part["query_loss"], label=variant, **style)
        axis.set_title(textwrap.fill(task.replace("_", " "), 22), fontsize=6.5)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    for axis in axes[-5:]:
        axis.set_xlabel("epoch")
    label_left(axes, "query loss")
    legend(figure, axes, 4)
    return figure


# ---------------------------------------------------------------------------------------------------------- predictions


@styled
def scatter(results: Results, methods: Sequence[str], shots: int, split: int) -> Figure | None:
    """Predicted against given quality on the test pictures of one split, with the logistic fit."""
    records = {
        (d, m): r for d in results.grid.databases for m in methods if (r := results.record(d, m, shots)) is not None
    }
    databases = [d for d in results.grid.databases if any(key[0] == d for key in records)]
    if not databases:
        return None
    look = line_styles(results.params.methods)
    width = COLUMN if len(methods) == 1 else PAGE
    figure = Figure((width, 1.45 * len(databases) + 0.2), layout="constrained")
    grid = figure.subplots(len(databases), len(methods), squeeze=False, sharey="row")
    for axes, database in zip(grid, databases, strict=True):
        axes[0].set_ylabel(f"{database}\n{results.opinion(database)}")
        for axis, name in zip(axes, methods, strict=True):
            axis.set_ylim(-0.05, 1.05)
            if database == databases[0]:
                axis.set_title(textwrap.fill(results.params.methods[name].label, 110 // len(methods)))
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
            row = results.scores[(results.scores["database"] == database) & (results.scores["method"] == name)]
            row = row[(row["shots"] == shots) & (row["split"] == split)]
            if len(row):
                text = f"SRCC {row['srcc'].iloc[0]:.3f}"
                axis.text(0.03, 0.97, text, transform=axis.transAxes, va="top", fontsize=6.5, bbox=_BOX)
            axis.locator_params(axis="x", nbins=3)
    return figure


_BOX = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
