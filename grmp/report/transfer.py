"""Trained on one database, tested on another: the matrix, with training on the same database on its diagonal."""

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from grmp.params import ACROSS
from grmp.report.notes import join, lacking
from grmp.report.published import beside, published
from grmp.report.results import Results
from grmp.report.style import PAGE, line_styles, styled
from grmp.report.table import Table, amount, merged, title, with_interval


def matrix(results: Results, shots: int | str, metric: str = "srcc") -> Table | None:
    """Median over splits, rows the database trained on, columns the one tested on; None where the grid is empty.

    Where the same number of labels was also run within a database, it stands on the diagonal: there the test pictures are
    a fifth of the database, elsewhere all of it.
    """
    grid = results.params.run.cross
    ends = list(dict.fromkeys(end for pair in grid.databases for end in pair.split(ACROSS)))
    if not grid.databases or not grid.methods:
        return None
    middle = results.summary[(results.summary["metric"] == metric) & (results.summary["shots"] == shots)]
    keyed = middle.set_index(["database", "method"])
    shown, data = [], []
    for method in grid.methods:
        for source in dict.fromkeys(pair.split(ACROSS)[0] for pair in grid.databases):
            row = {"Method": results.params.methods[method].label, "Trained on": source}
            for target in ends:
                database = target if source == target else f"{source}{ACROSS}{target}"
                row[f"tested on {target}"] = "–"
                if (database, method) in keyed.index:
                    one = keyed.loc[(database, method)]
                    row[f"tested on {target}"] = with_interval(one["median"], one["median_low"], one["median_high"])
                    data.append((database, method, shots, metric, one["median"], one["median_low"], one["median_high"]))
            shown.append(row)
    frame = pd.DataFrame(shown)
    frame["Method"] = merged(frame["Method"])
    wanted = [c for c in results.params.run.run_keys() if c[1] in grid.databases and c[0] == results.params.protocol]
    text = (
        f"Median {metric.upper()} over {results.params.splits.count} training sides. Off the diagonal every image of the other "
        "database is tested; on it the test side alone, where those runs are there. A dash off the diagonal is not run or not "
        "asked for."
    )
    columns = ["database", "method", "shots", "metric", "median", "median_low", "median_high"]
    table = pd.DataFrame(data, columns=columns)
    return Table(table, frame, f"{metric.upper()} across databases", join(text, lacking(results, wanted)))


@styled
def pairs_figure(results: Results, metric: str = "srcc") -> Figure | None:
    """Every pair of databases: each method's median with its interval, every split a dot, and what was published."""
    grid = results.params.run.cross
    scores = results.scores[results.scores["database"].isin(grid.databases)]
    if scores.empty:
        return None
    summary = results.summary[results.summary["metric"] == metric].set_index(["database", "method", "shots"])
    look, theirs = line_styles(results.params.methods), published(results.root)
    step = min(0.8 / (len(grid.methods) * len(grid.shots)), 0.2)
    figure = Figure((min(PAGE, 2.6 + 1.1 * len(grid.databases)), 2.3), layout="constrained")  # 2.6: axis and legend
    axis = figure.subplots()
    for place, database in enumerate(grid.databases):
        ways = [(name, k) for name in grid.methods for k in grid.shots]
        for i, (name, k) in enumerate(ways):
            if (database, name, k) not in summary.index:
                continue
            style, x = look[name], place + (i - (len(ways) - 1) / 2) * step
            one = summary.loc[(database, name, k)]
            dots = scores[(scores["database"] == database) & (scores["method"] == name) & (scores["shots"] == k)][
                metric
            ]
            axis.plot(
                np.full(len(dots), x + min(0.32 * step, 0.05)),
                dots,
                "o",
                color=style["color"],
                alpha=0.55,
                markersize=2.2,
                mew=0,
            )
            axis.vlines(x, one["median_low"], one["median_high"], color=style["color"], linewidth=0.9)
            label = results.params.methods[name].label + (f", {amount(k)}" if len(grid.shots) > 1 else "")
            axis.plot(x, one["median"], **(style | {"linestyle": "none", "label": label}))
        rows = beside(theirs, "cross", database, grid.shots)
        rows = rows[rows["metric"] == metric].dropna(subset="value")
        if len(rows):
            label = "other methods, published"
            axis.plot(np.full(len(rows), place + 0.46), rows["value"], "_", color="#6E6E6E", markersize=5, label=label)
    axis.set_xticks(range(len(grid.databases)), [title(d).replace(" → ", " →\n") for d in grid.databases])
    axis.set_xlim(-0.5, len(grid.databases) - 0.5)
    axis.grid(axis="x", visible=False)
    axis.set_ylabel(metric.upper())
    handles = dict(zip(*reversed(axis.get_legend_handles_labels()), strict=True))
    figure.legend(handles.values(), handles.keys(), loc="outside right center")
    return figure
