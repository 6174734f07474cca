"""params.yaml as a whole: reading it, and looking at it under one protocol or for one method."""

import reprlib
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from grmp.errors import UserError
from grmp.params.base import Group
from grmp.params.grid import ACROSS, Run
from grmp.params.groups import (
    Adapt,
    AnyVariant,
    Attribution,
    Data,
    Evaluate,
    InnerCurves,
    Paths,
    Pretrain,
    PretrainedBackbone,
    Prompts,
    Report,
    Splits,
    TrainedBackbone,
)
from grmp.params.methods import META, STARTS, Distill, Method, Tune
from grmp.params.protocols import DEPARTING, Protocol


class Params(Group):
    """All of params.yaml, under one protocol."""

    protocol: str  # the protocol whose values stand in the groups
    protocols: Annotated[dict[str, Protocol], Field(min_length=1)]
    paths: Paths
    data: Data
    splits: Splits
    backbone: Annotated[PretrainedBackbone | TrainedBackbone, Field(discriminator="source")]
    prompts: Prompts
    pretrain: Pretrain
    variants: dict[str, AnyVariant]
    adapt: Adapt
    methods: dict[str, Method]
    run: Run
    inner_curves: InnerCurves
    attribution: Attribution
    evaluate: Evaluate
    report: Report

    def under(self, protocol: str) -> "Params":
        """The same settings under another protocol of the file.

        Raises
        ------
        UserError
            If there is none of that name.
        """
        if protocol not in self.protocols:
            raise UserError(f"protocol '{protocol}' is not defined; known: {', '.join(self.protocols)}")
        values = self.protocols[protocol]
        groups = {g: getattr(self, g).model_copy(update=getattr(values, g).model_dump()) for g in DEPARTING}
        return self.model_copy(update={"protocol": protocol, **groups})

    def adapting(self, name: str) -> Tune | None:
        """The method itself or its teacher, where that adapts CLIP by gradient steps."""
        method = self.methods[name]
        method = self.methods[method.teacher] if isinstance(method, Distill) else method
        return method if isinstance(method, Tune) else None

    def for_method(self, name: str) -> "Params":
        """The same settings with the ``set`` of the method, or of its teacher.

        Raises
        ------
        UserError
            If it names an unknown key or a value that does not fit.
        """
        method = self.adapting(name)
        if not method or not method.set:
            return self
        raw = {group: getattr(self, group).model_dump() for group in ("adapt", "prompts")}
        for key, value in method.set.items():
            group, _, field = key.partition(".")
            raw[group][field] = value
        try:
            groups = {"adapt": Adapt.model_validate(raw["adapt"]), "prompts": Prompts.model_validate(raw["prompts"])}
        except ValidationError as error:
            raise UserError(f"methods.{name}.set: {_one_line(error)}") from None
        return self.model_copy(update=groups)

    def start_of(self, method: Tune) -> str:
        """Where the method's prompts start: one of STARTS, or a variant's name ("meta" is the protocol's)."""
        return self.protocols[self.protocol].meta if method.prompts == META else method.prompts

    @model_validator(mode="after")
    def _names_exist(self) -> "Params":
        def need(name: str, known: Any, where: str) -> None:
            if name not in known:
                raise ValueError(f"{where}: '{name}' is not defined; known: {', '.join(sorted(known))}")

        for grid_name, grid in self.run.grids().items():
            for protocol in grid.protocols:
                need(protocol, self.protocols, f"run.{grid_name}.protocols")
            for name in grid.methods:
                need(name, self.methods, f"run.{grid_name}.methods")
            for pair in grid.databases:
                for name in pair.split(ACROSS):
                    need(name, self.data.databases, f"run.{grid_name}.databases (of data.databases)")
        for pair_ in self.evaluate.pairs:
            for name in (pair_.method, pair_.against):
                need(name, self.methods, "evaluate.pairs")
        for name, method in self.methods.items():
            if isinstance(method, Tune):
                need(method.prompts, {*STARTS, META, *self.variants}, f"methods.{name}.prompts")
                self.for_method(name)
            if isinstance(method, Distill):
                need(
                    method.teacher,
                    {n for n, m in self.methods.items() if isinstance(m, Tune)},
                    f"methods.{name}.teacher",
                )
        for name in self.pretrain.variants:
            need(name, self.variants, "pretrain.variants")
        for name, variant in self.variants.items():
            need(variant.protocol, self.protocols, f"variants.{name}.protocol")
        for name, protocol_ in self.protocols.items():
            need(protocol_.meta, self.variants, f"protocols.{name}.meta")
        for name in self.inner_curves.variants:
            need(name, self.pretrain.variants, "inner_curves.variants (of pretrain.variants)")
        for name in self.attribution.methods:
            need(name, self.methods, "attribution.methods")
        for name in self.pretrain.databases + self.inner_curves.databases:
            need(name, self.data.databases, "pretrain.databases and inner_curves.databases (of data.databases)")
        return self


def load(path: Path) -> Params:
    """Read and check params.yaml.

    Raises
    ------
    UserError
        With one line naming the file, the key and the remedy.
    """
    try:
        raw: Any = yaml.safe_load(path.read_text())
    except FileNotFoundError:
        raise UserError(f"{path} not found; run this in the folder of a params.yaml (the root or demo/)") from None
    except RecursionError:
        raise UserError(f"{path} is not valid YAML: it is nested without end") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or no such date or number
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())[:300]}") from None
    if not isinstance(raw, dict) or not all(isinstance(group, dict) for group in raw.values()):
        raise UserError(f"{path} holds no settings; expected groups such as data, splits, adapt")
    try:
        protocols = TypeAdapter(dict[str, Protocol]).validate_python(raw.get("protocols") or {})
    except ValidationError as error:
        raise UserError(f"{path}: {_one_line(error, 'protocols.')}") from None
    if not protocols:
        raise UserError(
            f"{path}: key 'protocols' is missing; it holds the values of docs/departures.md for each protocol"
        )
    name, first = next(iter(protocols.items()))
    for group in DEPARTING:
        values = getattr(first, group).model_dump()
        for key in sorted(set(values) & set(raw.get(group, {}))):
            raise UserError(f"{path}: key '{group}.{key}' belongs to the protocols: protocols.{name}.{group}.{key}")
        raw[group] = raw.get(group, {}) | values
    try:
        return Params.model_validate(raw | {"protocol": name})
    except ValidationError as error:
        raise UserError(f"{path}: {_one_line(error)}") from None


def _one_line(error: ValidationError, within: str = "") -> str:
    """The first complaint of pydantic in our words, and how many more there are."""
    # a mistyped key is both unknown and missing; the unknown one is what the user sees in the file
    first, *rest = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    # the tags of unions are places in pydantic's mind, not in the file
    tags = {"zero_shot", "ridge", "tune", "panel", "distill", "by meta-learning", "by triplets", "open_clip", "world"}
    tags |= {"int", "constrained-int", "constrained-str"}
    loc = first["loc"]
    # the second part is a name, which may be that of a tag, but in the group that is itself a union
    parts = [str(p) for i, p in enumerate(loc) if p not in tags or (i == 1 and loc[0] != "backbone")]
    key = within + ".".join(parts)
    given = first.get("input")
    if first["type"] == "extra_forbidden":
        line = f"unknown key '{key}'; check its spelling against the comments in params.yaml"
    elif first["type"] == "missing":
        line = f"key '{key}' is missing"
    elif first["type"] == "float_type" and isinstance(given, str):
        line = f"key '{key}': '{given}' was read as text, not a number; write it with a point, as in 1.0e-4"
    elif first["type"] == "value_error":
        line = f"{key + ': ' if key else ''}{first['ctx']['error']}"
    else:
        line = f"key '{key}': {first['msg'].lower()}, got {reprlib.repr(given)}"
    return " ".join(line.split())[:500] + (f" (and {len(rest)} more)" if rest else "")
