"""What the predictions of single pictures say: the largest failures, and how far splits agree; ``predictions``'s figures."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine

from grmp.experiments.record import Record
from grmp.metrics import fit_logistic, logistic
from grmp.params import ACROSS, RunKey
from grmp.report.notes import join, lacking
from grmp.report.panels import label_left, note, panels
from grmp.report.pictures import shrunk
from grmp.report.results import Results
from grmp.report.style import PAGE, line_styles, styled
from grmp.report.table import Table, merged, number


def fitted(one: Record) -> pd.DataFrame:
    """``split, image, quality, fitted``: predictions on the scale of quality, by each split's own logistic fit.

    Splits whose predictions are not finite, are constant, or take no fit are left out.
    """
    found = []
    for _, part in one.predictions.groupby("split"):
        x, y = part["score"].to_numpy(), part["quality"].to_numpy()
        if not np.isfinite(x).all() or np.ptp(x) == 0 or (fit := fit_logistic(y, x)) is None:
            continue
        found.append(part[["split", "image", "quality"]].assign(fitted=logistic(x, *fit)))
    columns = ["split", "image", "quality", "fitted"]
    return pd.concat(found, ignore_index=True) if found else pd.DataFrame(columns=columns)


def by_picture(table: pd.DataFrame) -> pd.DataFrame:
    """``image`` -> quality, tested (in how many splits), mean, least, greatest and sd of the fitted predictions."""
    by = table.groupby("image")
    fit = by["fitted"]
    columns = {"quality": by["quality"].first(), "tested": fit.size(), "mean": fit.mean(), "least": fit.min()}
    return pd.DataFrame(columns | {"greatest": fit.max(), "sd": fit.std()})


@styled
def failures(
    results: Results, method: str, databases: list[str], shots: int | str, count: int = 6, pixels: int = 72
) -> Figure | None:
    """The pictures that the method misjudges most: half of them rated too high, half too low."""
    found = {}
    for database in databases:
        one, pictures = results.record(database, method, shots), results.database(database.split(ACROSS)[-1])
        if one is None or pictures is None or (table := by_picture(fitted(one))).empty:
            continue
        miss = (table["mean"] - table["quality"]).sort_values(ascending=False, kind="stable")
        chosen = [*miss.index[: count // 2], *miss.index[len(miss) - count // 2 :]]
        found[database] = pictures, table.loc[chosen]
    if not found:
        return None
    side = (PAGE - 0.5) / count
    tight = ConstrainedLayoutEngine(w_pad=0.01, h_pad=0.02, wspace=0.02, hspace=0.02)
    figure = Figure((PAGE, len(found) * (side + 0.24) + 0.15), layout=tight)
    grid = figure.subplots(len(found), count, squeeze=False)
    for axes, (database, (pictures, table)) in zip(grid, found.items(), strict=True):
        place = {image: i for i, image in enumerate(pictures.index["image"])}
        for axis, row in zip(axes, table.itertuples(), strict=False):
            axis.imshow(shrunk(pictures.images[place[row.Index]], pixels), interpolation="none")
            axis.set_xlabel(f"{row.mean:.2f} for {row.quality:.2f}", fontsize=6.5)
        for axis in axes:
            axis.set(xticks=[], yticks=[])
            axis.spines[:].set_visible(False)
        axes[0].set_ylabel(database)
    grid[0, 0].set_title("judged too high", fontsize=7)
    grid[0, count // 2].set_title("judged too low", fontsize=7)
    return figure


@styled
def agreement(results: Results, method: str, databases: list[str], shots: int | str) -> Figure | None:
    """Every picture that several splits test: least to greatest prediction (a line), their mean (a dot), against opinion."""
    records = {d: one for d in databases if (one := results.record(d, method, shots)) is not None}
    if not records:
        return None
    figure, axes = panels(len(databases), 2.1, 3, sharey=True)
    colour = line_styles(results.params.methods)[method]["color"]
    for axis, database in zip(axes, databases, strict=True):
        axis.set_title(f"{database}, {shots} labels")
        axis.set_xlabel("quality by opinion")
        table = by_picture(fitted(records[database])) if database in records else pd.DataFrame({"tested": []})
        table = table[table["tested"] > 1]
        if table.empty:
            note(axis, "not run" if database not in records else "no picture is\ntested twice")
            continue
        axis.plot([0, 1], [0, 1], color="black", linewidth=0.6, zorder=1)
        axis.vlines(table["quality"], table["least"], table["greatest"], color=colour, alpha=0.35, linewidth=0.6)
        axis.plot(table["quality"], table["mean"], "o", color=colour, markersize=1.6, mew=0)
        axis.set_ylim(-0.05, 1.05)
    label_left(axes, "predicted, after the fit")
    return figure


def agreement_table(results: Results, methods: list[str], databases: list[str], shots: int | str) -> Table:
    """How far a picture's predictions move from split to split, beside how far they lie from opinion."""
    rows = []
    for database in databases:
        for name in methods:
            one = results.record(database, name, shots)
            table = by_picture(fitted(one)) if one is not None else pd.DataFrame()
            several = table[table["tested"] > 1] if len(table) else table
            if several.empty:
                rows.append((database, name, np.nan, np.nan, np.nan, np.nan))
                continue
            miss = several["mean"] - several["quality"]
            rmse = float(np.sqrt(np.mean(miss**2)))
            rows.append((database, name, len(several), several["tested"].mean(), several["sd"].median(), rmse))
    columns = ["database", "method", "pictures", "times", "sd", "rmse"]
    data = pd.DataFrame(rows, columns=columns)
    shown = pd.DataFrame({"Database": merged(data["database"])})
    shown["Method"] = [results.params.methods[name].label for name in data["method"]]
    shown["Pictures"] = [number(v, 0) for v in data["pictures"]]
    shown["Times tested"] = [number(v, 1) for v in data["times"]]
    shown["Spread between splits"] = [number(v) for v in data["sd"]]
    shown["Distance to opinion"] = [number(v) for v in data["rmse"]]
    text = (
        "Pictures that more than one split tests; predictions on the scale of quality, [0, 1], by each split's logistic fit. "
        "Spread: standard deviation of a picture's predictions, median over pictures. Distance: root mean square of mean "
        "prediction minus opinion."
    )
    cells = [RunKey(results.params.protocol, d, m, shots) for d in databases for m in methods]
    return Table(data, shown, f"Agreement between splits, {shots} labels", join(text, lacking(results, cells)))
