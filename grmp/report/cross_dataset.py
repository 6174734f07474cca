"""Cross-database evaluation: the matrix and the figure of the notebook ``cross_dataset``."""

import pandas as pd
from matplotlib.figure import Figure

from grmp.params import ACROSS
from grmp.report.plotting import PAGE, draw_splits, method_styles, styled
from grmp.report.results import Results, at, title, triples
from grmp.report.table import Table, amount, join, merged, missing_runs, with_interval


def matrix(results: Results, shots: int | str) -> Table | None:
    """Median over splits: rows are training databases, columns are test databases; None if the grid is empty.

    The diagonal holds within-database runs with the same number of labels, tested on 20 % of the images instead of all.
    """
    grid = results.params.run.cross
    if not grid.databases or not grid.methods:
        return None
    ends = dict.fromkeys(end for pair in grid.databases for end in pair.split(ACROSS))
    summary = at(results.summary, metric="srcc", shots=shots)
    shown, data = [], []
    for method in grid.methods:
        for source in dict.fromkeys(pair.split(ACROSS)[0] for pair in grid.databases):
            row = {"Method": results.label(method), "Trained on": title(source)}
            for target in ends:
                database = target if source == target else f"{source}{ACROSS}{target}"
                medians = triples(at(summary, database=database, method=method), "median")
                row[f"tested on {title(target)}"] = with_interval(*medians[0]) if medians else "–"
                data += [(database, method, shots, "srcc", *three) for three in medians]
            shown.append(row)
    frame = pd.DataFrame(shown)
    frame["Method"] = merged(frame["Method"])
    wanted = [key for key in results.run_keys([shots], "cross") if key.protocol in grid.protocols]
    text = (
        f"Median SRCC over {results.params.splits.count} training sets. Off the diagonal, all images of the other "
        "database are tested; on the diagonal, the test images only. –: not run or not in the grid."
    )
    columns = ["database", "method", "shots", "metric", "median", "median_low", "median_high"]
    caption, table = f"SRCC across databases, {amount(shots)} labels", pd.DataFrame(data, columns=columns)
    return Table(table, frame, caption, join(text, missing_runs(results, wanted)))


@styled
def transfer(results: Results) -> Figure | None:
    """SRCC on the other database for every pair and method, every split a dot; None for a single pair (see the table)."""
    grid = results.params.run.cross
    scores = results.scores[results.scores["database"].isin(grid.databases)]
    if scores.empty or len(grid.databases) < 2:
        return None
    scores, middles = (at(table, shots=grid.shots[-1]) for table in (scores, at(results.summary, metric="srcc")))
    figure = Figure((min(PAGE, 2.6 + 1.1 * len(grid.databases)), 2.3), layout="constrained")
    axis = figure.subplots()
    styles = method_styles(results.params, grid.methods)
    draw_splits(axis, scores, middles, "database", "srcc", grid.databases, styles)
    axis.set_xticks(range(len(grid.databases)), [title(d).replace(" → ", " →\n") for d in grid.databases])
    axis.set_ylabel("SRCC")
    figure.legend(loc="outside right center")
    return figure
