"""The contribution of each part of the method, and its sensitivity to one setting at a time: notebook ``ablation``.

Which methods form an ablation follows from their definitions in params.yaml.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from grmp.errors import UserError
from grmp.params import Params, RunKey, Tune
from grmp.report.comparisons import Comparison, at, effects
from grmp.report.plotting import PAGE, draw_splits, line_styles, note, panels, styled
from grmp.report.results import Results, title
from grmp.report.table import Table, join, merged, missing_runs, signed, triples, with_interval

NAMES = {
    "adapt.select": "selection of the last epoch",
    "adapt.tuned_blocks": "tuned blocks of each encoder",
    "prompts.text_tokens": "text prompt tokens",
    "prompts.visual_tokens": "visual prompt tokens",
    "prompts.visual_layers": "layers with visual prompts",
    "prompts.classes": "class words",
    "strength": "λ of the gradient rule",
}
MIDDLE = {"method": "series", "median": "value", "median_low": "low", "median_high": "high"}


@dataclass(frozen=True)
class Sweep:
    """One setting (``adapt.tuned_blocks``, ``strength``) at several values, everything else as in ``base``."""

    base: str
    key: str
    points: tuple[tuple[Any, str], ...]  # (value, method), in order

    @property
    def title(self) -> str:
        """The setting in words."""
        return NAMES.get(self.key, self.key)


def definition(params: Params, name: str) -> dict[str, Any] | None:
    """Everything that defines a method of kind tune, including its own ``set``; None for other kinds.

    A rule of strength 0 is no rule: both give ``rule: none, strength: 0``. Raises UserError if params.yaml does not
    define the method.
    """
    if name not in params.methods:
        raise UserError(f"method '{name}' is not defined in params.yaml; known: {', '.join(params.methods)}")
    method = params.methods[name]
    if not isinstance(method, Tune):
        return None
    found: dict[str, Any] = method.model_dump(exclude={"kind", "label", "set"})
    if method.rule == "none" or method.strength == 0:
        found |= {"rule": "none", "strength": 0.0}
    settings = params.for_method(name)
    for key in sorted({key for m in params.methods.values() if isinstance(m, Tune) for key in m.set}):
        group, _, field = key.partition(".")
        found[key] = getattr(getattr(settings, group), field)
    return found


def differs_in(params: Params, one: str, other: str) -> set[str] | None:
    """Keys in which the definitions of two methods differ; None if one of them is not of kind tune."""
    a, b = definition(params, one), definition(params, other)
    return None if a is None or b is None else {key for key in a if a[key] != b[key]}


def sweep(params: Params, base: str, key: str, among: Iterable[str]) -> Sweep:
    """``base`` and those of ``among`` that differ from it in ``key`` alone, one per value.

    For ``strength``, the method without a rule is the one of strength 0.
    """
    allowed = [{key}, {"rule", "strength"}] if key == "strength" else [{key}]
    found: dict[str, tuple[Any, str]] = {}
    for name in [base, *among]:
        different, own = differs_in(params, base, name), definition(params, name)
        if own is None or different is None or (name != base and different not in allowed):
            continue
        if different == {"rule", "strength"} and own["rule"] != "none":
            continue
        found.setdefault(repr(own[key]), (own[key], name))
    return Sweep(base, key, tuple(sorted(found.values(), key=lambda point: _rank(key, point[0]))))


def sweeps(params: Params, among: Iterable[str]) -> list[Sweep]:
    """One sweep for every key that some method sets (``set: {adapt.tuned_blocks: 0}``), in the order of params.yaml.

    The base is the first method that sets nothing and differs in that key alone.
    """
    among, found = list(among), {}
    plain = [n for n, m in params.methods.items() if isinstance(m, Tune) and not m.set]
    for name in among:
        method = params.methods[name]
        if isinstance(method, Tune) and len(method.set) == 1:
            key = next(iter(method.set))
            base = next((n for n in plain if differs_in(params, n, name) in ({key}, set())), None)
            if base is not None and (base, key) not in found:
                found[base, key] = sweep(params, base, key, among)
    return [s for s in found.values() if len(s.points) > 1]


def value_text(key: str, value: Any) -> str:
    """A value as a tick label."""
    if key == "prompts.visual_layers":
        return "all" if value == 0 else f"{value}"
    if key == "adapt.select":
        return {"test": "best on the\ntest split", "last": "last epoch"}.get(value, str(value))
    if isinstance(value, list):
        return " /\n".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rank(key: str, value: Any) -> tuple[bool, float, str]:
    """Numbers by size (0 prompted layers means all), texts in alphabetical order."""
    if isinstance(value, int | float):
        return False, float("inf") if key == "prompts.visual_layers" and value == 0 else float(value), ""
    return True, 0.0, str(value)


def corners(params: Params, full: str) -> dict[str, str]:
    """The method without meta-learned prompts ("no meta"), without the gradient rule ("no rule"), without both ("neither")."""
    found = {"both": full}
    wanted = {"no meta": {"prompts"}, "no rule": {"rule", "strength"}, "neither": {"prompts", "rule", "strength"}}
    for name in params.methods:
        own = definition(params, name)
        for corner, keys in wanted.items():
            if own is None or differs_in(params, full, name) != keys:
                continue
            if (own["prompts"] == "random" or "prompts" not in keys) and (own["rule"] == "none" or "rule" not in keys):
                found.setdefault(corner, name)
    return found


def parts(results: Results, full: str) -> list[Comparison]:
    """The four questions about the two parts, each with and without the other, as far as the methods are defined."""
    c = corners(results.params, full)
    asked = [
        ("Meta-learned prompts, without the rule", "no rule", "neither"),
        ("Meta-learned prompts, with the rule", "both", "no meta"),
        ("Gradient rule, random prompts", "no meta", "neither"),
        ("Gradient rule, meta-learned prompts", "both", "no rule"),
    ]
    return [(question, c[a], c[b]) for question, a, b in asked if a in c and b in c]


@styled
def sweep_figure(
    results: Results, found: list[Sweep], databases: list[str], shots: int | str, metric: str = "srcc"
) -> Figure | None:
    """Medians with intervals and every split a dot, against one setting at a time; one column per database.

    The filled marker is the value that all other experiments use. With one database, two settings share a row.
    """
    scores, summary = at(results.scores, shots=shots), at(at(results.summary, shots=shots), metric=metric)
    names = {name for s in found for _, name in s.points if name != s.base}
    if not found or not scores["method"].isin(names).any():
        return None
    if len(databases) == 1:
        figure, axes = panels(len(found), 1.5, 2, 0.15, sharey=True)
    else:
        figure = Figure((PAGE, 1.45 * len(found) + 0.15), layout="constrained")
        axes = list(figure.subplots(len(found), len(databases), squeeze=False, sharey="col").ravel())
    for axis, (one, database) in zip(axes, [(s, d) for s in found for d in databases], strict=True):
        draw_sweep(results, axis, one, at(scores, database=database), at(summary, database=database), metric)
        spec = axis.get_subplotspec()
        if spec is not None and spec.is_first_col():
            axis.set_ylabel(metric.upper())
    for axis, database in zip(axes, databases, strict=False):
        axis.set_title(f"{title(database)}, {shots} labels")
    return figure


def draw_sweep(
    results: Results, axis: Axes, one: Sweep, scores: pd.DataFrame, middles: pd.DataFrame, metric: str
) -> None:
    """One panel: a sweep on one database. ``middles`` has the columns of summary.csv."""
    style, order = line_styles(results.params.methods)[one.base], [name for _, name in one.points]
    dots = scores[scores["method"].isin(order)]
    dots = pd.DataFrame({"position": dots["method"], "series": one.base, "value": dots[metric]})
    middles = middles[middles["method"].isin(order)].rename(columns=MIDDLE)
    middles = middles.assign(position=middles["series"], series=one.base)
    if middles.empty:
        note(axis, "not run")
    elif all(isinstance(value, int | float) for value, _ in one.points):
        line = middles.set_index("position")["value"].reindex(order).reset_index(drop=True).dropna()
        axis.plot(line.index, line, color=style["color"], linewidth=0.7, zorder=1)
    draw_splits(axis, dots, middles, order, {one.base: style}, filled=lambda name: bool(name == one.base))
    axis.set_xticks(range(len(order)), [value_text(one.key, value) for value, _ in one.points])
    axis.locator_params(axis="y", nbins=5)
    axis.set_xlabel(one.title)
    axis.set_ylabel("")


def sweep_table(
    results: Results, found: list[Sweep], databases: list[str], shots: int | str, metric: str = "srcc"
) -> Table:
    """Every value of every sweep: the median, and the mean paired difference to the default value."""
    summary = at(at(results.summary, shots=shots), metric=metric)
    asked = [(s.title, name, s.base) for s in found for _, name in s.points if name != s.base]
    paired = at(effects(results, asked, metric), shots=shots)
    rows, shown, missing = [], [], []
    for one in found:
        for (value, name), database in ((point, d) for point in one.points for d in databases):
            row = at(summary, database=database, method=name)
            effect = at(paired, question=one.title, method=name, against=one.base, database=database)
            text = value_text(one.key, value).replace("\n", " ")
            score = difference = "–"
            if row.empty:
                missing.append(RunKey(results.params.protocol, database, name, shots))
            else:
                score = with_interval(*triples(row, "median")[0])
                rows.append((one.key, text, name, database, shots, *triples(row, "median")[0]))
            if name == one.base:
                difference = "default"
            elif len(effect):
                difference = signed(*triples(effect, "mean")[0])
            shown.append((one.title, text, title(database), score, difference))
    columns = ["setting", "value", "method", "database", "shots", "median", "median_low", "median_high"]
    frame = pd.DataFrame(shown, columns=["Setting", "Value", "Database", metric.upper(), "Difference"])
    repeated = frame[["Setting", "Value"]].eq(frame[["Setting", "Value"]].shift()).all(axis=1)
    frame["Value"] = frame["Value"].mask(repeated, "")
    frame["Setting"] = merged(frame["Setting"])
    text = join(
        "Median over splits with its interval, and the mean paired difference to the default value.",
        missing_runs(results, missing),
    )
    if not found:
        text = "No method of params.yaml changes a single setting; define one (`set: {adapt.tuned_blocks: 0}`) in run.ablation."
    return Table(pd.DataFrame(rows, columns=columns), frame, f"One setting at a time, {shots} labels", text)
