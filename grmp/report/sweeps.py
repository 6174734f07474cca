"""Methods that differ in one setting alone: what params.yaml defines as an ablation is found here, never listed by hand."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from grmp.errors import UserError
from grmp.params import Params, Tune

NAMES = {
    "adapt.select": "how the last epoch is chosen",
    "adapt.tuned_blocks": "tuned blocks of each tower",
    "prompts.text_tokens": "text prompt tokens",
    "prompts.visual_tokens": "visual prompt tokens",
    "prompts.visual_layers": "prompted visual layers",
    "prompts.classes": "class words",
    "strength": "λ of the rule",
}


@dataclass(frozen=True)
class Sweep:
    """One setting (``adapt.tuned_blocks``, ``strength``) at several values, all else being as in ``base``."""

    base: str
    key: str
    points: tuple[tuple[Any, str], ...]  # (value, method), in order

    @property
    def title(self) -> str:
        """The setting in words."""
        return NAMES.get(self.key, self.key)

    @property
    def ordered(self) -> bool:
        """True where the values are numbers, so that a line between them says something."""
        return all(isinstance(value, int | float) for value, _ in self.points)


def definition(params: Params, name: str) -> dict[str, Any] | None:
    """All that makes a method of kind tune what it is, its own ``set`` put in; None for other kinds.

    Without a rule there is no strength, and a rule of strength 0 is none: both read as ``rule: none, strength: 0``.

    Raises
    ------
    UserError
        For a method that params.yaml does not define.
    """
    if name not in params.methods:
        raise UserError(f"method '{name}' is not defined in params.yaml; known: {', '.join(params.methods)}")
    method = params.methods[name]
    if not isinstance(method, Tune):
        return None
    found: dict[str, Any] = method.model_dump(exclude={"kind", "label", "set"})
    if method.rule == "none" or method.strength == 0:
        found |= {"rule": "none", "strength": 0.0}
    own = params.for_method(name)
    keys = {key for m in params.methods.values() if isinstance(m, Tune) for key in m.set}
    for key in sorted(keys):
        group, _, field = key.partition(".")
        found[key] = getattr(getattr(own, group), field)
    return found


def differs_in(params: Params, one: str, other: str) -> set[str] | None:
    """Keys in which two methods' definitions differ; None if one of them is not of kind tune."""
    a, b = definition(params, one), definition(params, other)
    if a is None or b is None:
        return None
    return {key for key in a if a[key] != b[key]}


def sweep(params: Params, base: str, key: str, among: Iterable[str]) -> Sweep:
    """Those ``among`` the methods that differ from ``base`` in ``key`` alone, and ``base``; equal values are taken once.

    With ``strength``, the method without a rule is the one of strength 0.
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

    The base of a sweep is the first method that sets nothing and differs in that key alone.
    """
    among, found = list(among), {}
    for name in among:
        method = params.methods[name]
        if not isinstance(method, Tune) or len(method.set) != 1:
            continue
        key = next(iter(method.set))
        plain = [n for n, m in params.methods.items() if isinstance(m, Tune) and not m.set]
        base = next((n for n in plain if differs_in(params, n, name) in ({key}, set())), None)
        if base is not None and (base, key) not in found:
            found[base, key] = sweep(params, base, key, among)
    return [s for s in found.values() if len(s.points) > 1]


def value_text(key: str, value: Any) -> str:
    """A value as a tick label."""
    if key == "prompts.visual_layers":
        return "all" if value == 0 else f"{value}"
    if isinstance(value, list):
        return " /\n".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _rank(key: str, value: Any) -> tuple[bool, float, str]:
    """Numbers by size (0 prompted layers means all of them), texts as they come."""
    if isinstance(value, int | float):
        return False, float("inf") if key == "prompts.visual_layers" and value == 0 else float(value), ""
    return True, 0.0, str(value)
