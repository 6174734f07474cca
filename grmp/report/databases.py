"""The databases and the backbone: tables and figures of the notebook ``databases``."""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from grmp.data.dataset import Dataset
from grmp.params import ACROSS
from grmp.report.plotting import finished, image_grid, panels, shrunk, styled
from grmp.report.results import SIMULATED, Results, title
from grmp.report.table import Table, in_print, join, not_run


def _prepared(results: Results) -> dict[str, Dataset]:
    return {n: d for n in results.params.data.databases if (d := results.dataset(n)) is not None}


def database_table(results: Results) -> Table:
    """What each database contains and what it is used for."""
    found, rows = _prepared(results), []
    params = results.params
    views = [params.under(params.variants[name].protocol).pretrain for name in params.pretrain.variants]
    used = {
        "pre-training": params.pretrain.databases,
        "selection in pre-training": [view.target for view in views if view.select == "target"],
        "inner curves": params.inner_curves.databases if params.inner_curves.variants else [],
        "target": {end for key in params.run.run_keys() for end in key.database.split(ACROSS)},
        "continual learning": params.continual.sequence,
    }
    for name in params.data.databases:
        row: dict[str, Any] = {"database": name}
        row["used for"] = ", ".join(role for role, names in used.items() if name in names) or "nothing"
        if name in found:
            index = found[name].index
            row |= {"kind": found[name].info["kind"], "images": len(index), "sources": index["reference"].nunique()}
            row |= {"distortions": index["distortion"].nunique(), "ratings": results.rating(name)}
            row |= {"lowest": index["mos"].min(), "mean": index["mos"].mean(), "highest": index["mos"].max()}
        rows.append(row)
    counts, ratings = ["images", "sources", "distortions"], ["lowest", "mean", "highest"]
    data = pd.DataFrame(rows, columns=["database", "used for", "kind", *counts, "ratings", *ratings])
    known = data.replace({"sources": 0, "distortions": 0}, np.nan)
    digits = dict.fromkeys(counts, 0) | dict.fromkeys(ratings, 2)
    shown = in_print(results, known, {name: name.capitalize() for name in data}, digits)
    text = "Simulated ratings are a published full-reference measure plus rater noise, not human ratings."
    text = text if (data["ratings"] == SIMULATED).any() else ""
    absent = [f"prepare@{name}" for name in params.data.databases if name not in found]
    return Table(data, shown, "The prepared databases", join(text, not_run(absent)))


@styled
def histograms(results: Results) -> Figure | None:
    """The ratings of each prepared database over its own range."""
    found = _prepared(results)
    if not found:
        return None
    figure, axes = panels(len(found), 1.35)
    for axis, (name, dataset) in zip(axes, found.items(), strict=True):
        low, high = dataset.info["range"]
        edges = np.linspace(low, high, 21) - 1e-6 * (high - low)  # a rating on an edge counts to its right
        edges[-1] = high
        axis.hist(dataset.index["mos"], bins=edges, color="#8A8A8A", edgecolor="white", linewidth=0.3)
        axis.set_title(f"{title(name)} ({len(dataset.index):,})")
        better = "" if dataset.info.get("higher_better", True) else " (lower is better)"
        axis.set_xlabel(results.rating(name) + better)
        axis.grid(axis="x", visible=False)
        axis.yaxis.set_major_locator(MaxNLocator(4, integer=True))
    return finished(figure, axes, "images")


@styled
def samples(results: Results, count: int = 6) -> Figure | None:
    """Images of each database at equal steps of rank, from the lowest to the highest rating."""
    found = _prepared(results)
    if not found:
        return None
    figure, grid = image_grid(len(found), count)
    for axes, (name, dataset) in zip(grid, found.items(), strict=True):
        order = np.argsort(dataset.index["quality"].to_numpy(), kind="stable")
        chosen = order[np.linspace(0, len(order) - 1, count).round().astype(int)]
        digits = max(0, 2 - int(np.log10(max(1.0, np.ptp(dataset.index["mos"])))))
        for axis, row in zip(axes, chosen, strict=True):
            axis.imshow(shrunk(dataset.images[row]), interpolation="none")
            axis.set_xlabel(f"{dataset.index['mos'].iloc[row]:.{digits}f}")
        axes[0].set_ylabel(title(name).replace(", ", ",\n"))
    return figure


def backbone_table(results: Results) -> Table:
    """Which weights the backbone has (results/backbone.json)."""
    card = results.json("results/backbone.json") or {}
    facts = [(name, str(value)) for name, value in card.items() if isinstance(value, str | int)]
    data = pd.DataFrame(facts or [("–", "–")], columns=["measure", "value"])
    return Table(data, data.rename(columns=str.capitalize), "The backbone", "" if card else not_run(["backbone"]))
