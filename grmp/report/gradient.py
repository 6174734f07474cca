"""The gradient rule at work: its strength, its variants, and the angle between the two gradients; ``gradient``'s figures."""

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from grmp.params import RunKey
from grmp.report.ablation import draw_sweep
from grmp.report.effects import Comparison, at
from grmp.report.notes import join, lacking
from grmp.report.panels import every, label_left, legend, note, panels
from grmp.report.results import Results
from grmp.report.style import LINES, MARKERS, PAGE, line_styles, styled
from grmp.report.sweeps import definition, differs_in, sweep
from grmp.report.table import Table, number, with_interval

RULES = {
    "none": "task gradient alone",
    "published": "takes λ times the semantic part away where the two agree",
    "prograd": "takes it away where they conflict (ProGrad)",
    "pcgrad": "projects each of the two where they conflict, adds them (PCGrad)",
    "cosine_gate": "adds the semantic gradient in proportion to the cosine where they agree",
}


def rules(results: Results, full: str) -> list[str]:
    """``full``, the same without a rule, and the same under other rules, in the order of params.yaml."""
    wanted: list[set[str]] = [{"rule"}, {"rule", "strength"}, set()]
    plain = [name for name, method in results.params.methods.items() if not getattr(method, "set", {})]
    return [name for name in plain if differs_in(results.params, full, name) in wanted]


def variants(results: Results, full: str) -> list[Comparison]:
    """Each rule against none, from the same start."""
    found = {name: definition(results.params, name) for name in rules(results, full)}
    none = next((n for n, d in found.items() if d and d["rule"] == "none"), None)
    return [(f"{d['rule']}, λ = {d['strength']:g}", n, none) for n, d in found.items() if none and d and n != none]


@styled
def strength(
    results: Results, full: str, databases: list[str], shots: int | str, metric: str = "srcc"
) -> Figure | None:
    """The rule's strength against the score, and against how far the model has moved from the teacher's scenes at the end."""
    one = sweep(results.params, full, "strength", results.params.methods)
    scores, summary = (at(t, shots=shots) for t in (results.scores, results.summary))
    names = [name for _, name in one.points]
    if len(one.points) < 2 or scores[scores["method"].isin(names)]["method"].nunique() < 2:
        return None
    last = at(last_losses(results, databases, names, shots), shots=shots)
    figure = Figure((PAGE if len(databases) > 1 else PAGE / 2, 3.1), layout="constrained")
    grid = figure.subplots(2, len(databases), squeeze=False, sharex="col")
    for column, database in enumerate(databases):
        part = at(scores, database=database)
        medians = at(at(summary, database=database), metric=metric)
        draw_sweep(results, grid[0, column], one, part, medians, metric)
        ends = at(last, database=database)
        middle = ends.groupby("method", as_index=False)["semantic_loss"].median()
        middle = middle.assign(median=middle["semantic_loss"], median_low=float("nan"), median_high=float("nan"))
        draw_sweep(results, grid[1, column], one, ends, middle, "semantic_loss")
        grid[0, column].set_title(f"{database}, {shots} labels")
        grid[0, column].set_xlabel("")
    grid[0, 0].set_ylabel(metric.upper())
    grid[1, 0].set_ylabel("semantic loss\nat the end")
    return figure


def last_losses(results: Results, databases: list[str], names: list[str], shots: int | str) -> pd.DataFrame:
    """Losses and angle of the last epoch of every split: ``database, method, shots, split`` and the history's columns."""
    found = []
    for database in databases:
        for name in names:
            one = results.record(database, name, shots)
            if one is not None and len(one.history):
                last = one.history.sort_values("epoch", kind="stable").groupby("split", as_index=False).last()
                found.append(last.assign(database=database, method=name, shots=str(shots)))
    columns = ["database", "method", "shots", "split", "epoch", "task_loss", "semantic_loss", "angle_deg"]
    return pd.concat(found)[columns] if found else pd.DataFrame(columns=columns)


@styled
def angles(results: Results, methods: list[str], databases: list[str], shots: int | str) -> Figure | None:
    """Angle between the two losses' gradients, epoch by epoch: median over splits, the band from the least to the greatest."""
    histories = {
        (d, m): one.history.dropna(subset="angle_deg")
        for d in databases
        for m in methods
        if (one := results.record(d, m, shots)) is not None
    }
    if not any(len(h) for h in histories.values()):
        return None
    look, label = line_styles(results.params.methods), {n: m.label for n, m in results.params.methods.items()}
    figure, axes = panels(len(databases), 1.9, 3, 0.16 * -(-len(methods) // 3), sharey=True)
    for axis, database in zip(axes, databases, strict=True):
        drawn = False
        for place, name in enumerate(methods):
            history = histories.get((database, name))
            if history is None or history.empty:
                continue
            by = history.groupby("epoch")["angle_deg"]
            middle, drawn = by.median(), True
            # methods far apart in params.yaml may share a marker, and here their lines run close together
            style = look[name] | {"marker": MARKERS[place % 8], "linestyle": LINES[place % 8], "markersize": 3.5}
            axis.fill_between(middle.index, by.min(), by.max(), color=style["color"], alpha=0.12, linewidth=0)
            axis.plot(middle.index, middle, label=label[name], markevery=every(len(middle)), **style)
        if not drawn:
            note(axis, "not run")
        axis.axhline(90, color="black", linewidth=0.7)
        axis.set_title(f"{database}, {shots} labels")
        axis.set_xlabel("epoch")
        axis.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    label_left(axes, "angle (degrees)")
    legend(figure, axes, 3)
    return figure


def rule_table(results: Results, full: str, databases: list[str], shots: int | str, metric: str = "srcc") -> Table:
    """Each rule: what it does, the score, and the losses and the angle at the end, database by database."""
    names = rules(results, full)
    summary = at(at(results.summary, shots=shots), metric=metric)
    ends = last_losses(results, databases, names, shots)
    rows, shown, missing = [], [], []
    for name in names:
        own = definition(results.params, name)
        assert own is not None
        for database in databases:
            row = at(summary, database=database, method=name)
            end = at(ends, database=database, method=name)[["task_loss", "semantic_loss", "angle_deg"]].median()
            cells = {"Rule": own["rule"], "λ": f"{own['strength']:g}", "What it does": RULES.get(own["rule"], "")}
            cells |= {"Database": database, metric.upper(): "–"}
            if row.empty:
                missing.append(RunKey(results.params.protocol, database, name, shots))
            else:
                first = row.iloc[0]
                cells[metric.upper()] = with_interval(first["median"], first["median_low"], first["median_high"])
                numbers = (first["median"], first["median_low"], first["median_high"])
                rows.append((own["rule"], own["strength"], name, database, shots, *numbers, *end))
            cells |= {"Task loss": number(end["task_loss"]), "Semantic loss": number(end["semantic_loss"])}
            shown.append(cells | {"Angle": number(end["angle_deg"], 1)})
    columns = ["rule", "strength", "method", "database", "shots", "median", "median_low", "median_high"]
    data = pd.DataFrame(rows, columns=[*columns, "task_loss", "semantic_loss", "angle_deg"])
    heads = ["Rule", "λ", "What it does", "Database", metric.upper(), "Task loss", "Semantic loss", "Angle"]
    frame = pd.DataFrame(shown, columns=heads)
    repeated = frame[heads[:3]].eq(frame[heads[:3]].shift()).all(axis=1)
    for column in heads[:3]:
        frame[column] = frame[column].mask(repeated, "")
    text = "Medians over splits; losses and angle (degrees) are those of the last epoch in which they were taken."
    return Table(data, frame, f"The rule and its variants, {shots} labels", join(text, lacking(results, missing)))
