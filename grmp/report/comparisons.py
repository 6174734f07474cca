"""Paired differences between two methods on the same splits: their table and forest plot.

``collect`` answers the questions of params.yaml once (pairs.csv). The ablations ask more; these are answered here from the run
records with the same statistics and the same rule on which runs may be compared.
"""

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grmp.params import ACROSS, Pair, RunKey
from grmp.report.pairs import ALL, CELL, DIFFERENCE, Differences, incomparable
from grmp.report.plotting import COLUMN, GREY, all_styles, draw_splits, panels, styled
from grmp.report.results import Results, at, title
from grmp.report.table import Table, amount, join, merged, number, p_value, side, signed

QUESTION = ["question", "method", "against"]
COLUMNS = [*QUESTION, "database", "shots", *DIFFERENCE, "status"]
OTHER_IMAGES_NOTE = (
    "Brackets after a mean, p and the column Interval cover other images of the same database as well as other splits: a "
    "two-way bootstrap for a number of labels and across databases, the corrected resampled t-test for shares of the labels "
    "of one database, which also allows for training images that splits have in common. The column Over splits is a "
    "percentile bootstrap over the splits of these images alone, and too narrow for that. Nothing covers other databases."
)
MARGIN = 0.02  # SRCC; the smallest difference of interest


def effects(results: Results, pairs: Iterable[Pair]) -> pd.DataFrame:
    """One row per (pair, database, shots): ``pairs.Differences.of`` the two runs.

    A run that is missing or that ``collect`` has left out, and two that may not be compared (``pairs.incomparable``), give no
    row.
    """
    scores, found = results.scores, []
    differences = Differences(results.params, results.dataset, dict(iter(scores.groupby(CELL))))
    cells = list(scores[["database", "shots"]].drop_duplicates().itertuples(index=False, name=None))
    for pair, (database, shots) in itertools.product(pairs, cells):
        names = pair.method, pair.against
        if not {RunKey(results.params.protocol, database, name, shots) for name in names} <= differences.scores.keys():
            continue
        a, b = (results.record(database, name, shots) for name in names)
        if a is None or b is None or incomparable(results.params, a.run, b.run):
            continue
        cell = {"database": database, "shots": shots}
        found.append(pair.model_dump() | cell | differences.of([(a, b)], "srcc"))
    return pd.DataFrame(found, columns=COLUMNS)


def answers(results: Results, kind: str = "few_shot") -> pd.DataFrame:
    """The rows of pairs.csv that belong to a grid.

    ``kind`` is few_shot (one database, a number of labels), full (one database, a share of them) or cross.
    """
    rows = at(results.pairs, metric="srcc")
    across = rows["database"].str.contains(ACROSS).astype(bool)
    share = rows["shots"].astype(str).str.endswith("pct")
    wanted = {"few_shot": ~(across | share), "full": ~across & share, "cross": across}[kind]
    return rows[wanted].reset_index(drop=True)


@styled
def forest(results: Results, table: pd.DataFrame, shared: bool = False) -> Figure | None:
    """Mean paired differences with their intervals over other images, one panel per question; every split is a dot.

    The grey band marks differences below ``MARGIN``. ``shared`` puts all questions on one axis, below headings.
    """
    table = table[table["mean"].notna() & (table["database"] != ALL)]
    if table.empty:
        return None
    parts = [part for _, part in table.groupby(QUESTION, sort=False)]
    if shared:
        figure = Figure((COLUMN * 1.4, 0.17 * (len(table) + len(parts)) + 0.5), layout="constrained")
        _panel(figure.subplots(subplot_kw={"xlabel": "difference of SRCC"}), results, table, headings=len(parts) > 1)
        return figure
    figure, axes = panels(len(parts), 0.19 * max(map(len, parts)) + 0.75, 2)
    for axis, part in zip(axes, parts, strict=True):
        _panel(axis, results, part, headings=False)
        first = part.iloc[0]
        axis.set_title(textwrap.fill(first["question"][:1].upper() + first["question"][1:], 40))
        axis.set_xlabel(f"SRCC: {results.label(first['method'])} −\n{results.label(first['against'])}")
    return figure


def _panel(axis: Axes, results: Results, table: pd.DataFrame, headings: bool) -> None:
    """One axis; with ``headings``, the question is above its rows."""
    table = table.assign(
        row=range(len(table)), median=table["mean"], median_low=table["low"], median_high=table["high"]
    )
    styles, ticks = all_styles(results.params), dict[Any, str]()
    scores = results.scores.pivot(index="split", columns=["database", "shots", "method"], values="srcc")
    for question, part in table.groupby(QUESTION, sort=False):
        ticks |= {question: question[0]} if headings else {}
        ticks |= {r.row: f"{title(r.database)}, {amount(r.shots)} labels" for r in part.itertuples()}
    axis.axvspan(-MARGIN, MARGIN, color="#EDEDED", linewidth=0, zorder=0)
    axis.axvline(0, color=GREY, linewidth=0.7, zorder=1)
    for (_, method, against), part in table.groupby(QUESTION, sort=False):
        cells = {r.row: (r.database, r.shots) for r in part.itertuples()}
        dots = pd.DataFrame({row: scores[*cell, method] - scores[*cell, against] for row, cell in cells.items()})
        dots = dots.melt(var_name="row", value_name="difference").assign(method=method)
        draw_splits(axis, dots, part, "row", "difference", list(ticks), {method: styles[method]}, horizontal=True)
    axis.set_yticks(range(len(ticks)), list(ticks.values()))
    for label, position in zip(axis.get_yticklabels(), ticks, strict=True):
        label.set_fontweight("bold" if isinstance(position, tuple) else "normal")
    low, high = axis.get_xlim()
    axis.set_xlim(min(low, -1.5 * MARGIN), max(high, 1.5 * MARGIN))
    axis.locator_params(axis="x", nbins=5)


def effect_columns(results: Results, data: pd.DataFrame) -> pd.DataFrame:
    """The columns that all tables of differences share."""
    names = [f"{results.label(a)} − {results.label(b)}" for a, b in zip(data["method"], data["against"], strict=True)]
    won = zip(data["won"], data["scored"], strict=True)
    spans = zip(data["mean_low"], data["mean_high"], strict=True)
    shown: dict[str, Sequence[str]] = {"Question": merged(data["question"])} if "question" in data else {}
    shown |= {
        "Difference": merged(names),
        "Database": [title(d) for d in data["database"]],
        "Labels": [amount(k) for k in data["shots"]],
        "Mean": [signed(*v) for v in zip(data["mean"], data["low"], data["high"], strict=True)],
        "Over splits": ["–" if pd.isna(low) else f"[{number(low, 4)}, {number(high, 4)}]" for low, high in spans],
        "Won": ["–" if pd.isna(w) else f"{w:.0f} of {n:.0f}" for w, n in won],
        "p": [p_value(p) for p in data["p"]],
        "Interval": [side(*v) for v in zip(data["low"], data["high"], data["status"], strict=True)],
    }
    return pd.DataFrame(shown)


def effect_table(results: Results, table: pd.DataFrame, pairs: Sequence[Pair], caption: str) -> Table:
    """``effects`` as a table, with what was not run in its note."""
    missing = (pair for pair in pairs if pair.question not in set(table["question"]))
    absent = [f"{p.question} needs {results.label(p.method)} and {results.label(p.against)}" for p in missing]
    text = f"Exploratory: p is not corrected for multiple comparisons. {OTHER_IMAGES_NOTE}"
    return Table(table, effect_columns(results, table), caption, join(text, not_run(absent)))


def answer_table(results: Results, kind: str = "few_shot") -> Table | None:
    """``answers`` as a table: the questions of params.yaml. None if a grid of shares or across databases has no answer."""
    data = answers(results, kind)
    if data.empty and kind != "few_shot":
        return None
    shown = effect_columns(results, data)
    if kind == "few_shot":
        shown["p (Holm)"] = data["p_holm"].map(p_value).where(data["role"] == "primary", "–")
        shown["Role"] = data["role"]
    methods = results.params.run.grids()[kind].methods
    asked = [p for p in results.params.evaluate.pairs if kind == "few_shot" or {p.method, p.against} <= {*methods}]
    text = (
        "The primary endpoint of a question is the mean difference of SRCC over all databases and numbers of labels under the "
        "first protocol. Holm's correction covers the primary endpoints; everything else is exploratory."
        if kind == "few_shot"
        else "Exploratory: p is not corrected for multiple comparisons."
    )
    selects = "Fine-tuned methods choose their epoch on the test split under this protocol; others cannot"
    read = selects if results.params.adapt.select == "test" else ""
    absent = [f"{p.question} needs {p.method} and {p.against}" for p in asked if at(data, **p.model_dump()).empty]
    return Table(data, shown, "Paired differences of SRCC", join(text, read, OTHER_IMAGES_NOTE, not_run(absent)))


def not_run(absent: Sequence[str]) -> str:
    """A sentence with the comparisons that lack a run, or nothing."""
    return f"Not run: {'; '.join(absent)}; run `dvc repro`." if absent else ""
