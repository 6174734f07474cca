"""Paired differences between two methods on the same splits, wherever both have been run: their table and forest plot.

The questions of params.yaml are answered once, by ``collect`` (pairs.csv); the ablations ask many more, and these are
answered here from scores.csv by the same statistics and the same rule on what may be compared.
"""

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from grmp.metrics import paired
from grmp.report.collect import families, incomparable
from grmp.report.notes import FEW_SPLITS_NOTE, SPLITS_NOTE, join, side, signed
from grmp.report.panels import panels
from grmp.report.results import Results
from grmp.report.style import line_styles, styled
from grmp.report.table import Table, amount, merged, number, title

Comparison = tuple[str, str, str]  # question, method, against
COLUMNS = ["question", "method", "against", "database", "shots", *paired([], [], 0.95, 10, 0), "differences"]


def at(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows in which every named column has that value (compared as text: shots may be 50 or "20pct")."""
    for column, value in where.items():
        table = table[table[column].astype(str) == str(value)]
    return table


def effects(results: Results, comparisons: Iterable[Comparison], metric: str = "srcc") -> pd.DataFrame:
    """One row a (comparison, database, shots): what evaluate.paired says of the differences, which stand in ``differences``.

    A cell in which one side is missing, or in which the two may not be compared (``collect.incomparable``), has no row.
    """
    scores, settings = results.scores, results.params.evaluate
    cells = list(scores[["database", "shots"]].drop_duplicates().itertuples(index=False, name=None))
    found = []
    for (question, method, against), (database, shots) in itertools.product(comparisons, cells):
        runs = [one.run for name in (method, against) if (one := results.record(database, name, shots)) is not None]
        apart = _differences(scores, database, shots, method, against, metric)
        if len(runs) < 2 or apart.empty or incomparable(results.params, *runs):
            continue
        found.append(
            {"question": question, "method": method, "against": against, "database": database, "shots": shots}
            | paired(apart.to_numpy(), np.zeros(len(apart)), settings.level, settings.resamples, settings.seed)
            | {"differences": apart.dropna().tolist()}
        )
    return pd.DataFrame(found, columns=COLUMNS)


def answers(results: Results, metric: str = "srcc") -> pd.DataFrame:
    """The rows of pairs.csv about few labels within a database, each with its ``differences``."""
    rows = results.pairs
    rows = rows[(rows["metric"] == metric) & (families(rows) == "few labels")].reset_index(drop=True)
    apart = [_differences(results.scores, r.database, r.shots, r.method, r.against, metric) for r in rows.itertuples()]
    return rows.assign(differences=[one.dropna().tolist() for one in apart])


def _differences(
    scores: pd.DataFrame, database: str, shots: int | str, method: str, against: str, metric: str
) -> pd.Series:
    """``method`` minus ``against``, split by split; empty where either has not been run."""
    part = at(scores, database=database, shots=shots)
    one, other = (at(part, method=m).set_index("split")[metric].astype(float) for m in (method, against))
    return pd.Series(dtype=float) if one.empty or other.empty else one - other


@styled
def forest(results: Results, table: pd.DataFrame, metric: str = "srcc") -> Figure | None:
    """Mean paired difference and its interval, a panel for each question and pair of methods; every split is a dot."""
    table = table[table["mean"].notna()]
    if table.empty:
        return None
    look = line_styles(results.params.methods)
    parts = list(table.groupby(["question", "method", "against"], sort=False))
    figure, axes = panels(len(parts), 0.19 * max(len(part) for _, part in parts) + 0.6, 2)
    label = {n: m.label for n, m in results.params.methods.items()}
    for axis, ((question, method, against), part) in zip(axes, parts, strict=True):
        for y, row in enumerate(part.itertuples()):
            style = look[row.method]
            dots = np.full(len(row.differences), y + 0.3)
            axis.plot(row.differences, dots, "o", color=style["color"], alpha=0.55, markersize=2.2, mew=0)
            axis.hlines(y, row.mean_low, row.mean_high, color=style["color"], linewidth=1.4)
            axis.plot(row.mean, y, color=style["color"], marker=style["marker"], mfc=style["markerfacecolor"])
        axis.axvline(0, color="black", linewidth=0.7)
        axis.set_yticks(range(len(part)), [f"{title(r.database)}, {amount(r.shots)}" for r in part.itertuples()])
        axis.set_ylim(len(part) - 0.4, -0.6)
        axis.locator_params(axis="x", nbins=5)
        axis.grid(axis="y", visible=False)
        axis.set_title(textwrap.fill(question, 50))
        axis.set_xlabel(f"{metric.upper()}: {label[method]} −\n{label[against]}")
    return figure


def columns_of(results: Results, data: pd.DataFrame, *averages: str) -> pd.DataFrame:
    """The columns that tables of differences share."""
    label = {name: method.label for name, method in results.params.methods.items()}
    columns: dict[str, Sequence[str]] = {"Question": merged(data["question"])} if "question" in data else {}
    columns |= {
        "Difference": merged(data["method"].map(label) + " − " + data["against"].map(label)),
        "Database": [title(d) for d in data["database"]],
        "Labels": [amount(k) for k in data["shots"]],
    }
    for average in averages:
        three = data[[average, f"{average}_low", f"{average}_high"]]
        columns[average.capitalize()] = [signed(*v) for v in three.itertuples(index=False, name=None)]
    won = zip(data["won"], data["scored"], strict=True)
    columns["Won"] = ["–" if pd.isna(w) else f"{w:.0f} of {n:.0f}" for w, n in won]
    return pd.DataFrame(columns | {"p": [number(p) for p in data["p"]]})


def effect_table(results: Results, table: pd.DataFrame, comparisons: Sequence[Comparison], caption: str) -> Table:
    """``effects`` as a table; comparisons that nobody has run are named with the command that runs them."""
    data = table.drop(columns="differences")
    there = set(table["question"])
    absent = [f"{question} needs {a} and {b}" for question, a, b in comparisons if question not in there]
    level = round(100 * results.params.evaluate.level)
    note = join(
        f"Differences over the same splits with {level}% bootstrap intervals; p: two-sided Wilcoxon signed-rank test, not "
        "corrected for the number of rows.",
        f"–: not run: {'; '.join(absent)}; fill with `dvc repro`." if absent else "",
    )
    return Table(data, columns_of(results, data, "mean"), caption, note)


def answer_table(results: Results, table: pd.DataFrame, metric: str = "srcc") -> Table:
    """``answers`` as a table: the questions of params.yaml."""
    data = table.drop(columns="differences")
    shown = columns_of(results, data, "mean", "median")
    shown["p (Holm)"] = [number(v) for v in data["p_holm"]]
    shown["Interval"] = [side(*v) for v in zip(data["mean_low"], data["mean_high"], data["status"], strict=True)]
    there = set(zip(data["question"], data["method"], data["against"], strict=True))
    asked = [(p.question, p.method, p.against) for p in results.params.evaluate.pairs]
    absent = [f"{question} needs {a} and {b}" for question, a, b in asked if (question, a, b) not in there]
    level, splits = round(100 * results.params.evaluate.level), results.params.splits.count
    note = join(
        f"Differences of {metric.upper()} on the same splits, with {level}% bootstrap intervals; the last column is about "
        f"the mean's. p: two-sided Wilcoxon signed-rank test, which over {splits} splits cannot fall below "
        f"{2 / 2**splits:.3g}; Holm's correction runs over the rows of a question, all methods together.",
        FEW_SPLITS_NOTE if splits < 20 else "",
        SPLITS_NOTE,
        f"Not run: {'; '.join(absent)}; fill with `dvc repro`." if absent else "",
    )
    return Table(data, shown, f"Paired differences of {metric.upper()}", note)
