"""Predictions for single images: tables and figures of the notebook ``predictions``."""

import textwrap
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from grmp.experiments.record import Record
from grmp.metrics import METRICS, increasing_fit, logistic
from grmp.params import ACROSS, RunKey
from grmp.report.plotting import COLUMN, PAGE, all_styles, finished, image_grid, note, panels, shrunk, styled
from grmp.report.results import Results, at, title
from grmp.report.table import Table, in_print, join, missing_runs

MEASURES = dict(zip(METRICS, ("SRCC", "KRCC", "PLCC", "PLCC after the fit", "RMSE after the fit"), strict=True))
STEEP = 0.02  # a fit whose width is below this share of the score range is a step and is not drawn


@styled
def scatter(results: Results, methods: Sequence[str], shots: int, split: int) -> Figure | None:
    """Ratings against predicted quality on the test images of one split, with the logistic fit; all panels share both axes."""
    records = {(d, m): r for d in results.grid.databases for m in methods if (r := results.record(d, m, shots))}
    databases = [d for d in results.grid.databases if any(key[0] == d for key in records)]
    if not databases:
        return None
    styles, scores = all_styles(results.params), at(results.scores, shots=shots, split=split)
    figure = Figure((COLUMN if len(methods) == 1 else PAGE, 1.45 * len(databases) + 0.25), layout="constrained")
    grid = figure.subplots(len(databases), len(methods), squeeze=False, sharex=True, sharey=True)
    for axes, database in zip(grid, databases, strict=True):
        axes[0].set_ylabel(f"{title(database)}\n{results.rating(database, scaled=True)}")
        for axis, name in zip(axes, methods, strict=True):
            axis.set_ylim(-0.05, 1.05)
            record = records.get((database, name))
            if record is None or split >= record.run.splits or record.run.status[split] != "ok":
                why = "not run" if record is None else "no such split" if split >= record.run.splits else "failed"
                note(axis, why)
                continue
            part = record.predictions[record.predictions["split"] == split]
            x, y = part["score"].to_numpy(), part["quality"].to_numpy()
            axis.plot(x, y, "o", color=styles[name]["color"], alpha=0.45, markersize=2.2, mew=0)
            lines = [f"SRCC {value:.3f}" for value in at(scores, database=database, method=name)["srcc"]]
            fit, _ = increasing_fit(y, x)
            if fit is not None and abs(fit[3]) > STEEP * np.ptp(x):
                line = np.linspace(x.min(), x.max(), 200)
                axis.plot(line, logistic(line, *fit), color="black", linewidth=1)
            else:
                lines.append("no stable fit")
            box = {"facecolor": "white", "alpha": 0.8, "edgecolor": "none", "pad": 1}
            axis.text(0.03, 0.97, "\n".join(lines), transform=axis.transAxes, va="top", fontsize=6.5, bbox=box)
            axis.locator_params(axis="x", nbins=4)
    for axis, name in zip(grid[0], methods, strict=True):
        axis.set_title(textwrap.fill(results.label(name), 110 // len(methods)))
    for axis in grid[-1]:
        axis.set_xlabel("predicted quality")
    return figure


def measures(results: Results, methods: list[str], shots: int) -> Table:
    """The median over splits of every metric, for one number of labels."""
    part = at(results.summary, shots=shots)
    data = part.pivot(index=["database", "method"], columns="metric", values="median")
    wanted = pd.MultiIndex.from_product([results.grid.databases, methods], names=["database", "method"])
    data = data.reindex(index=wanted, columns=list(MEASURES)).astype(float).reset_index()
    data.insert(2, "shots", shots)
    shown = in_print(results, data, {"database": "Database", "method": "Method"} | MEASURES)
    text = join(
        f"Medians over {results.params.splits.count} splits. PLCC is of the raw scores; the last two columns are taken after "
        "the four-parameter logistic fit, over the splits that have an increasing one, RMSE in the units of the database.",
        missing_runs(results, [key for key in results.run_keys([shots]) if key.method in methods]),
    )
    return Table(data, shown, f"All metrics, {shots} labels", text)


def by_image(record: Record | None) -> pd.DataFrame:
    """``image`` -> quality, tested (number of splits), mean, least, greatest and sd of the predictions; empty without a run.

    Predictions are on the scale of quality, by each split's own logistic fit. Splits without an increasing fit
    (:func:`grmp.metrics.increasing_fit`) are excluded.
    """
    found = [pd.DataFrame({"image": [], "quality": [], "fitted": []}, dtype=float)]
    for _, part in record.predictions.groupby("split") if record else ():
        x, y = part["score"].to_numpy(), part["quality"].to_numpy()
        if (fit := increasing_fit(y, x)[0]) is not None:
            found.append(part[["image", "quality"]].assign(fitted=logistic(x, *fit)))
    by = pd.concat(found[1:] or found).groupby("image")
    fit, quality = by["fitted"], by["quality"].first()
    return fit.agg(tested="size", mean="mean", least="min", greatest="max", sd="std").assign(quality=quality)


@styled
def failures(results: Results, method: str, databases: list[str], shots: int | str, count: int = 6) -> Figure | None:
    """The test images with the largest errors of one method: half of them overestimated, half underestimated."""
    found = {}
    for database in databases:
        one, dataset = results.record(database, method, shots), results.dataset(database.split(ACROSS)[-1])
        if dataset is None or (table := by_image(one)).empty:
            continue
        miss = (table["mean"] - table["quality"]).sort_values(ascending=False, kind="stable")
        chosen = [*miss.index[: count // 2], *miss.index[len(miss) - count // 2 :]]
        found[database] = dataset, table.loc[chosen]
    if not found:
        return None
    figure, grid = image_grid(len(found), count, 0.15, 0.36)
    for axes, (database, (dataset, table)) in zip(grid, found.items(), strict=True):
        place = {image: i for i, image in enumerate(dataset.index["image"])}
        for axis, row in zip(axes, table.itertuples(), strict=False):
            axis.imshow(shrunk(dataset.images[place[row.Index]]), interpolation="none")
            axis.set_xlabel(f"predicted {row.mean:.2f}\nrating {row.quality:.2f}", fontsize=6.5)
        axes[0].set_ylabel(title(database).replace(", ", ",\n"))
    grid[0, 0].set_title("overestimated", fontsize=7)
    grid[0, count // 2].set_title("underestimated", fontsize=7)
    return figure


@styled
def agreement(results: Results, method: str, databases: list[str], shots: int | str) -> Figure | None:
    """Each image in several test sets: its range of predictions (line) and their mean (dot) against its rating."""
    records = {d: one for d in databases if (one := results.record(d, method, shots)) is not None}
    if not records:
        return None
    figure, axes = panels(len(databases), 2.1, 3, sharey=True)
    colour = all_styles(results.params)[method]["color"]
    for axis, database in zip(axes, databases, strict=True):
        axis.set_title(f"{title(database)}, {shots} labels")
        axis.set_xlabel(f"{results.rating(database, scaled=True)}, scaled to [0, 1]")
        table = by_image(records.get(database)).query("tested > 1")
        if table.empty:
            note(axis, "not run" if database not in records else "no image is in\ntwo test sets")
            continue
        axis.plot([0, 1], [0, 1], color="black", linewidth=0.6, zorder=1)
        axis.vlines(table["quality"], table["least"], table["greatest"], color=colour, alpha=0.35, linewidth=0.6)
        axis.plot(table["quality"], table["mean"], "o", color=colour, markersize=1.6, mew=0)
        axis.set_ylim(-0.05, 1.05)
    return finished(figure, axes, "prediction after the fit")


def agreement_table(results: Results, methods: list[str], databases: list[str], shots: int | str) -> Table:
    """How far the predictions for an image vary from split to split, and how far they are from its rating."""
    rows = []
    keys = [RunKey(results.params.protocol, d, m, shots) for d in databases for m in methods]
    for _, database, name, _ in keys:
        several, found = by_image(results.record(database, name, shots)).query("tested > 1"), [np.nan] * 4
        if len(several):
            rmse = float(np.sqrt(np.mean((several["mean"] - several["quality"]) ** 2)))
            found = [len(several), several["tested"].mean(), several["sd"].median(), rmse]
        rows.append((database, name, *found))
    data = pd.DataFrame(rows, columns=["database", "method", "images", "times", "sd", "rmse"])
    heads = {"database": "Database", "method": "Method", "images": "Images", "times": "Times tested"}
    heads |= {"sd": "SD over splits", "rmse": "RMSE"}
    shown = in_print(results, data, heads, {"images": 0, "times": 1})
    text = (
        "Images in more than one test set; predictions on the scale of quality, [0, 1], by each split's logistic fit. SD: "
        "standard deviation of an image's predictions, median over images. RMSE: of the mean prediction."
    )
    return Table(data, shown, f"Agreement between splits, {shots} labels", join(text, missing_runs(results, keys)))
