"""The gradient rule: its strength, its variants, and the angle between the two gradients. Notebook ``gradient``."""

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from grmp.params import Ablation, Pair, Params, RunKey
from grmp.report.ablation import draw_sweep
from grmp.report.plotting import GREY, PAGE, all_styles, finished, medians, note, panels, styled
from grmp.report.results import Results, at, title, triples
from grmp.report.table import Table, join, missing_runs, number, with_interval

RULES = {
    "none": ("No rule", "task gradient only"),
    "published": ("As published", "subtracts λ times the semantic component if the gradients agree"),
    "prograd": ("ProGrad", "subtracts the semantic component if the gradients conflict"),
    "pcgrad": ("PCGrad", "projects each gradient if they conflict, then adds them"),
    "cosine_gate": ("Cosine gate", "adds the semantic gradient times the cosine if the gradients agree"),
}
LOSSES = ["task_loss", "semantic_loss", "angle_deg"]
WINDOW = 5  # epochs of the running mean


def ablation_of(params: Params, full: str, key: str) -> Ablation:
    """The declared ablation of ``key`` (rule, strength) with base ``full``; without points if there is none."""
    found = (one for one in params.ablations.values() if (one.base, one.key) == (full, key))
    return next(found, Ablation(base=full, key=key, title="", label="", values=[]))


def variants(params: Params, full: str) -> list[Pair]:
    """Each rule against none, from the same initial prompts."""
    points = ablation_of(params, full, "rule").points
    none = [name for rule, name in points if rule == "none"]
    asked = {n: f"{RULES.get(r, (r, ''))[0]}, λ = {getattr(params.methods[n], 'strength', 0.0):g}" for r, n in points}
    return [Pair(method=n, against=b, question=question) for b in none for n, question in asked.items() if n != b]


@styled
def strength(results: Results, full: str, databases: list[str], shots: int | str) -> Figure | None:
    """The score and the final semantic loss against λ."""
    one = ablation_of(results.params, full, "strength")
    scores, summary = at(results.scores, shots=shots), at(results.summary, shots=shots, metric="srcc")
    names = [name for _, name in one.points]
    if scores[scores["method"].isin(names)]["method"].nunique() < 2:
        return None
    last = last_losses(results, databases, names, shots)
    figure = Figure((PAGE if len(databases) > 1 else PAGE / 2, 3.1), layout="constrained")
    grid = figure.subplots(2, len(databases), squeeze=False, sharex="col")
    for axes, database in zip(grid.T, databases, strict=True):
        draw_sweep(results, axes[0], one, at(scores, database=database), at(summary, database=database), "srcc")
        ends = at(last, database=database)
        draw_sweep(results, axes[1], one, ends, medians(ends, "database", "semantic_loss"), "semantic_loss")
        axes[0].set(title=f"{title(database)}, {shots} labels", xlabel="")
    grid[0, 0].set_ylabel("SRCC")
    grid[1, 0].set_ylabel("semantic loss,\nlast epoch")
    return figure


def last_losses(results: Results, databases: Sequence[str], names: Sequence[str], shots: int | str) -> pd.DataFrame:
    """Losses and angle of the last epoch of every split: ``database, method`` and the columns of a history."""
    found = []
    for database, name in itertools.product(databases, names):
        one = results.record(database, name, shots)
        if one is not None and len(one.history):
            last = one.history.sort_values("epoch", kind="stable").groupby("split", as_index=False).last()
            found.append(last.assign(database=database, method=name))
    return pd.concat(found) if found else pd.DataFrame(columns=["database", "method", "split", *LOSSES])


@styled
def angles(results: Results, methods: Sequence[str], databases: Sequence[str], shots: int | str) -> Figure | None:
    """Angle between the gradients of the two losses against the epoch: a panel per database and method, a line per split.

    Lines are running means over ``WINDOW`` epochs, since the angle varies with the batch; the thick line is their mean.
    """
    cells = list(itertools.product(databases, methods))
    records = {cell: results.record(*cell, shots) for cell in cells}
    found = {cell: one.history.dropna(subset="angle_deg") for cell, one in records.items() if one is not None}
    if not any(len(history) for history in found.values()):
        return None
    styles = all_styles(results.params)
    figure, axes = panels(len(cells), 1.45, min(4, len(methods)), 0.1, sharex=True, sharey=True)
    for axis, (database, name) in zip(axes, cells, strict=True):
        history, colour = found.get((database, name), pd.DataFrame()), styles[name]["color"]
        axis.axhline(90, color="black", linewidth=0.7)
        axis.set_title(f"{results.label(name)}\n{title(database)}, {shots} labels", fontsize=6.5)
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
        axis.set_xlabel("epoch")
        if history.empty:
            note(axis, "not run")
            continue
        wide = history.pivot_table("angle_deg", "epoch", "split")
        dense = len(wide) > 2 * WINDOW and np.ptp(wide.index) < len(wide)  # every epoch is recorded
        smooth = wide.rolling(WINDOW, center=True, min_periods=1).mean() if dense else wide
        axis.plot(smooth.index, smooth, color=GREY, alpha=0.45, linewidth=0.6)
        axis.plot(smooth.index, smooth.mean(axis=1), color=colour, linewidth=1.6)
    return finished(figure, axes, "angle (degrees)")


def rule_table(results: Results, full: str, databases: list[str], shots: int | str) -> Table:
    """Each rule: what it does, the score, and the losses and the angle in the last epoch, per database."""
    points = ablation_of(results.params, full, "rule").points
    names = [name for _, name in points]
    summary, ends = at(results.summary, shots=shots, metric="srcc"), last_losses(results, databases, names, shots)
    rows, shown = [], []
    for rule, name in points:
        strength = getattr(results.params.methods[name], "strength", 0.0)
        in_words, effect = RULES.get(rule, (rule, ""))
        head = in_words, f"{strength:g}", effect
        for database in databases:
            medians = triples(at(summary, database=database, method=name), "median")
            end = at(ends, database=database, method=name)[LOSSES].median()
            rows += [(rule, strength, name, database, shots, *three, *end) for three in medians]
            score = with_interval(*medians[0]) if medians else "–"
            shown.append((*head, title(database), score, *map(number, end, (3, 3, 1))))
            head = "", "", ""  # said once
    columns = ["rule", "strength", "method", "database", "shots", "median", "median_low", "median_high", *LOSSES]
    heads = ["Rule", "λ", "Effect on the step", "Database", "SRCC", "Task loss", "Semantic loss", "Angle"]
    text = "Medians over splits; losses and angle (degrees) are those of the last epoch in which they were recorded."
    keys = [RunKey(results.params.protocol, database, name, shots) for name in names for database in databases]
    data, frame = pd.DataFrame(rows, columns=columns), pd.DataFrame(shown, columns=heads)
    return Table(data, frame, f"Gradient rules, {shots} labels", join(text, missing_runs(results, keys)))
