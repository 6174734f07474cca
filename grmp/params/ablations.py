"""Ablations: one setting of one method at several values. Each value becomes a method of its own."""

import math
from typing import Any

from grmp.errors import UserError
from grmp.params.schema import Ablation


def generate(name: str, ablation: Ablation, groups: dict[str, Any], methods: dict[str, Any]) -> Ablation:
    """The ablation with its points; adds to ``methods`` one for each value that the base does not have.

    So the ablation keeps all its values when the base gets another one. A key that does not exist is reported later, when
    the methods are checked.
    """
    if name in methods:
        raise UserError(f"ablations.{name}: a method has the same name; rename one of the two")
    base = methods.get(ablation.base)
    if not isinstance(base, dict) or base.get("kind") != "tune":
        raise UserError(f"ablations.{name}.base: '{ablation.base}' is not a method of kind tune")
    group, _, field = ablation.key.rpartition(".")
    changed, values = base.get("set", {}), ablation.values
    if not isinstance(changed, dict):
        raise UserError(f"methods.{ablation.base}.set: not a mapping from keys of adapt and prompts to values")
    own = changed.get(ablation.key, groups.get(group, {}).get(field)) if group else base.get(field)
    if isinstance(values, list):
        values = {f"{name}_{_text(value)}": value for value in values}
    values = {method: value for method, value in values.items() if value != own}
    for method, value in values.items():
        if method in methods:
            raise UserError(f"ablations.{name}: the method '{method}' is already defined; rename one of the two")
        change = {"set": changed | {ablation.key: value}} if group else {field: value}
        methods[method] = base | change | {"label": ablation.label.replace("{}", _text(value))}
    others = ablation.also | values
    points: list[tuple[Any, str]] = [(own, ablation.base), *((v, n) for n, v in others.items() if v != own)]
    if all(isinstance(value, int | float) for value, _ in points):
        last = 0 if ablation.key == "prompts.visual_layers" else None  # there, 0 stands for all layers
        points.sort(key=lambda point: math.inf if point[0] == last else point[0])
    return ablation.model_copy(update={"points": points})


def expanded(grid: Any, ablations: dict[str, Ablation]) -> Any:
    """A grid in which the name of an ablation among the methods stands for all methods that it generates."""
    if not isinstance(grid, dict) or not isinstance(grid.get("methods"), list):
        return grid
    methods: list[Any] = []
    for name in grid["methods"]:
        found = ablations.get(name) if isinstance(name, str) else None
        methods += [m for _, m in found.points if m != found.base and m not in found.also] if found else [name]
    return grid | {"methods": methods}


def _text(value: Any) -> str:
    """A value as part of a name or a label."""
    if isinstance(value, list):
        return " / ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)
