"""Paired differences between two methods on the same splits, wherever both have been run, and their forest plot.

``evaluate.pairs`` asks a few questions of every world (pairs.csv); the ablations ask many more, and these are answered here
from scores.csv by the same statistics.
"""

import itertools
import textwrap
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from grmp.collect import SAME_INPUTS
from grmp.evaluate import paired
from grmp.report.panels import panels
from grmp.report.style import looks, styled
from grmp.report.table import Table, merged, number, with_interval
from grmp.report.world import World

Comparison = tuple[str, str, str]  # question, method, against
COLUMNS = ["question", "method", "against", "database", "shots", *paired([], [], 0.95, 10, 0), "differences"]


def at(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows in which every named column has that value (compared as text: shots may be 50 or "20pct")."""
    for column, value in where.items():
        table = table[table[column].astype(str) == str(value)]
    return table


def holes(world: World, cells: Iterable[tuple[str, str, int | str]]) -> str:
    """A sentence that names the commands that fill these (database, method, shots), or nothing where there are none."""
    run, protocol = world.params.run, world.params.protocol
    asked, wanted = set(run.cells()), [(protocol, *cell) for cell in dict.fromkeys(cells)]
    stages = [run.stage(cell) for cell in wanted if cell in asked]
    unknown = list(dict.fromkeys(method for _, _, method, _ in (c for c in wanted if c not in asked)))
    text = ""
    if len(stages) > 3:
        grids = " ".join(dict.fromkeys(stage.partition("@")[0] for stage in stages))
        text += (
            f" –: {len(stages)} runs are missing; fill them with `dvc repro {grids}`, one with `dvc repro {stages[0]}`."
        )
    elif stages:
        text += " –: not run; fill with " + ", ".join(f"`dvc repro {stage}`" for stage in stages) + "."
    if unknown:
        text += (
            f" –: not asked for: add {', '.join(unknown)} to run.ablation in params.yaml, then `dvc repro ablation`."
        )
    return text


def effects(world: World, comparisons: Iterable[Comparison], metric: str = "srcc") -> pd.DataFrame:
    """One row a (comparison, database, shots): what evaluate.paired says of the differences, which stand in ``differences``.

    A cell in which one side is missing, or in which the two saw other pictures, splits or another backbone, has no row.
    """
    scores, settings = world.scores, world.params.evaluate
    cells = list(scores[["database", "shots"]].drop_duplicates().itertuples(index=False, name=None))
    found = []
    for (question, method, against), (database, shots) in itertools.product(comparisons, cells):
        part = at(scores, database=database, shots=shots)
        one, other = (at(part, method=m).set_index("split")[metric].astype(float) for m in (method, against))
        if one.empty or other.empty or not _comparable(world, database, shots, method, against):
            continue
        a, b = one.align(other)
        found.append(
            {"question": question, "method": method, "against": against, "database": database, "shots": shots}
            | paired(a.to_numpy(), b.to_numpy(), settings.level, settings.resamples, settings.seed)
            | {"differences": (one - other).dropna().tolist()}
        )
    return pd.DataFrame(found, columns=COLUMNS)


def _comparable(world: World, database: str, shots: int | str, method: str, against: str) -> bool:
    """True if both runs saw the same pictures, splits and backbone."""
    runs = [world.record(database, name, shots) for name in (method, against)]
    inputs = [{key: r.run.inputs.get(key) for key in SAME_INPUTS} for r in runs if r is not None]
    return len(inputs) == 2 and inputs[0] == inputs[1]


@styled
def forest(world: World, table: pd.DataFrame, metric: str = "srcc") -> Figure | None:
    """Mean paired difference and its interval, question by question; every split is a dot."""
    table = table[table["mean"].notna()]
    if table.empty:
        return None
    look = looks(world.params.methods)
    questions = table["question"].drop_duplicates().tolist()
    most = max((table["question"] == q).sum() for q in questions)
    figure, axes = panels(len(questions), 0.19 * most + 0.6, 2)
    label = {n: m.label for n, m in world.params.methods.items()}
    for axis, question in zip(axes, questions, strict=True):
        part = table[table["question"] == question]
        for y, row in enumerate(part.itertuples()):
            style = look[row.method]
            dots = np.full(len(row.differences), y + 0.3)
            axis.plot(row.differences, dots, "o", color=style["color"], alpha=0.55, markersize=2.2, mew=0)
            axis.hlines(y, row.mean_low, row.mean_high, color=style["color"], linewidth=1.4)
            axis.plot(row.mean, y, color=style["color"], marker=style["marker"], mfc=style["markerfacecolor"])
        axis.axvline(0, color="black", linewidth=0.7)
        axis.set_yticks(range(len(part)), [f"{r.database}, {r.shots}" for r in part.itertuples()])
        axis.set_ylim(len(part) - 0.4, -0.6)
        axis.locator_params(axis="x", nbins=5)
        axis.grid(axis="y", visible=False)
        axis.set_title(textwrap.fill(question, 50))
        first = part.iloc[0]
        names = f"{label[first['method']]} −\n{label[first['against']]}"
        axis.set_xlabel(f"{metric.upper()}: {names}")
    return figure


def effect_table(world: World, table: pd.DataFrame, comparisons: Sequence[Comparison], caption: str) -> Table:
    """The same as a table; comparisons that nobody has run are named with the command that runs them."""
    label = {name: method.label for name, method in world.params.methods.items()}
    data = table.drop(columns="differences")
    shown = pd.DataFrame(
        {
            "Question": merged(data["question"]),
            "Difference": merged(data["method"].map(label) + " − " + data["against"].map(label)),
            "Database": data["database"],
            "Labels": data["shots"].astype(str),
            "Mean": [signed(*v) for v in zip(data["mean"], data["mean_low"], data["mean_high"], strict=True)],
            "Won": [f"{w:.0f} of {n:.0f}" for w, n in zip(data["won"], data["scored"], strict=True)],
            "p": [number(p) for p in data["p"]],
        }
    )
    there = set(table["question"])
    absent = [f"{question} needs {a} and {b}" for question, a, b in comparisons if question not in there]
    level = round(100 * world.params.evaluate.level)
    note = (
        f"Differences over the same splits with {level}% bootstrap intervals; p: two-sided Wilcoxon signed-rank test, not "
        "corrected for the number of rows."
    )
    if absent:
        note += f" –: not run: {'; '.join(absent)}; fill with `dvc repro adapt ablation`."
    return Table(data, shown, caption, note)


def signed(value: float, low: float, high: float) -> str:
    """A difference with its interval and its sign; effects are small, so four digits."""
    text = with_interval(value, low, high, 4)
    return f"+{text}" if pd.notna(value) and value > 0 else text
