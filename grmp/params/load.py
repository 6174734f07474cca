"""Reading params.yaml: ``extends``, protocols, ablations, and one line for every error."""

import importlib
import json
import reprlib
from collections.abc import Iterable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import Field, SerializeAsAny, ValidationError, model_validator

from grmp.errors import UserError, one_line
from grmp.params import schema
from grmp.params.ablations import expanded, generate
from grmp.params.grid import ACROSS, Group, Name, Run, RunKey
from grmp.params.schema import META, STARTS, Ablation, Method, Protocol, Tune, departures, need, protocol_model

G = TypeVar("G", bound=Group)
EXTERNAL = "external.yaml"  # beside params.yaml: the methods that `grmp evaluate --add` has added
METHODS = "grmp.methods"  # the package whose files are the kinds of methods; imported only for the kinds that are used


class Params(Group):
    """All settings of a pipeline folder, under one protocol."""

    protocol: str  # the protocol whose values are in the groups
    protocols: Annotated[dict[Name, SerializeAsAny[Protocol]], Field(min_length=1)]
    paths: schema.Paths
    data: schema.Data
    splits: schema.Splits
    backbone: Annotated[schema.PretrainedBackbone | schema.ShippedBackbone, Field(discriminator="source")]
    prompts: schema.Prompts
    pretrain: schema.Pretrain
    variants: dict[str, schema.AnyVariant]
    adapt: schema.Adapt
    methods: dict[Name, SerializeAsAny[Method]]  # those that the ablations generate come last
    ablations: dict[str, Ablation]
    run: Run
    inner_curves: schema.InnerCurves
    continual: schema.Continual
    attribution: schema.Attribution
    evaluate: schema.Evaluate
    report: schema.Report

    def under(self, protocol: str) -> "Params":
        """The same settings under another protocol of the file. Raises UserError if the file does not define it."""
        if protocol not in self.protocols:
            raise UserError(f"protocol '{protocol}' is not defined; known: {', '.join(self.protocols)}")
        values = self.protocols[protocol]
        groups = {g: getattr(self, g).model_copy(update=getattr(values, g).model_dump()) for g in schema.DEPARTING}
        return self.model_copy(update={"protocol": protocol, **groups})

    def for_run(self, key: RunKey) -> "Params":
        """The settings of one run: under its protocol, with the values that its method sets."""
        return self.under(key.protocol).for_method(key.method)

    @property
    def tuned(self) -> list[str]:
        """The methods of kind tune."""
        return [name for name, method in self.methods.items() if isinstance(method, Tune)]

    def adapting(self, name: str) -> Tune | None:
        """The fine-tuned method that ``name`` is or learns from; None if there is none."""
        method = self.methods[name]
        method = self.methods[method.learns_from] if method.learns_from else method
        return method if isinstance(method, Tune) else None

    def for_method(self, name: str) -> "Params":
        """The same settings with what the method, or the one it learns from, has under ``set``. UserError as ``changed``."""
        method = self.adapting(name)
        try:
            return self.changed(method.set) if method else self
        except UserError as error:
            raise UserError(f"methods.{name}.set: {error}") from None

    def changed(self, values: Mapping[str, Any]) -> "Params":
        """The same settings with these values of adapt.* and prompts.*. Raises UserError if one is unknown or invalid."""
        groups = {"adapt": self.adapt.model_dump(), "prompts": self.prompts.model_dump()}
        for key, value in values.items():
            group, _, field = key.partition(".")
            if group not in groups:
                raise UserError(f"'{key}' is none of adapt.* and prompts.*")
            groups[group][field] = value
        new = {group: _validated(type(getattr(self, group)), given, f"{group}.") for group, given in groups.items()}
        return self.model_copy(update=new)

    def start_of(self, method: Tune) -> str:
        """Where the prompts of a method start: one of STARTS, or a variant ("meta" is that of the protocol)."""
        return self.protocols[self.protocol].meta if method.prompts == META else method.prompts

    def learned_start(self, name: str) -> str:
        """The variant whose prompts the method, or the one it learns from, starts with; empty without one."""
        method = self.adapting(name)
        start = self.start_of(method) if method else ""
        return "" if start in STARTS else start

    @property
    def pretrain_views(self) -> tuple[str, str]:
        """How support and query images are resized in pre-training (grmp.data.decode.resized)."""
        return ("support", "query") if self.pretrain.resize == "skimage" else (self.data.resize,) * 2

    def views(self, name: str) -> list[str]:
        """How the images of a database are resized for all that reads them."""
        found: set[str] = set()
        for variant in {*self.pretrain.variants, *self.inner_curves.variants}:
            view = self.under(self.variants[variant].protocol)
            if name in {*view.pretrain.databases, *self.inner_curves.databases}:
                found |= {*view.pretrain_views}
            if name == view.pretrain.target and view.pretrain.select == "target":
                found.add(view.pretrain_views[1])
        pairs = [pair for grid in self.run.grids().values() for pair in grid.databases]
        if not found or any(name in pair.split(ACROSS) for pair in [*pairs, *self.continual.sequence]):
            found |= {self.under(protocol).data.resize for protocol in self.protocols}
        return sorted(found)

    @model_validator(mode="after")
    def _names_exist(self) -> "Params":
        def need_all(where: str, names: Iterable[str], known: Iterable[str]) -> None:
            for name in names:
                need(name, known, where)

        databases, of_databases = self.data.databases, "(of data.databases)"
        compared = [name for p in self.evaluate.pairs + self.report.parts for name in (p.method, p.against)]
        need_all(f"evaluate.pairs, report.parts or {EXTERNAL}", compared, self.methods)
        need_all("pretrain.variants", self.pretrain.variants, self.variants)
        need_all("inner_curves.variants (of pretrain.variants)", self.inner_curves.variants, self.pretrain.variants)
        need_all("attribution.methods (of kind tune)", self.attribution.methods, self.tuned)
        need_all(f"continual.sequence {of_databases}", self.continual.sequence, databases)
        # a teacher that knows all labels learns from one database
        taught_by_clip = [name for name in self.tuned if getattr(self.methods[name], "teacher", "") == "clip"]
        need(self.continual.method, taught_by_clip, "continual.method (of kind tune, with teacher: clip)")
        distorted = self.pretrain.databases + self.inner_curves.databases
        need_all(f"pretrain.databases and inner_curves.databases {of_databases}", distorted, databases)
        for name, grid in self.run.grids().items():
            need_all(f"run.{name}.protocols", grid.protocols, self.protocols)
            need_all(f"run.{name}.methods", grid.methods, self.methods)
            ends = [end for pair in grid.databases for end in pair.split(ACROSS)]
            need_all(f"run.{name}.databases {of_databases}", ends, databases)
        for name, ablation in self.ablations.items():
            need_all(f"ablations.{name}.also", ablation.also, self.methods)
        for name, variant in self.variants.items():
            need(variant.protocol, self.protocols, f"variants.{name}.protocol")
        for name, protocol in self.protocols.items():
            need(protocol.meta, self.variants, f"protocols.{name}.meta")
        for name, method in self.methods.items():
            try:
                method.check(self)
            except ValueError as error:
                raise ValueError(f"methods.{name}.{error}") from None
            self.for_method(name)
        if "official" in self.protocols:
            raise ValueError("protocols.official: choose another name; official.csv holds the split of a publisher")
        if shares := [k for k in self.run.few_shot.shots if isinstance(k, str)]:
            raise ValueError(f"run.few_shot.shots: {shares[0]} is a share of the labels; put it into run.full.shots")
        sequence = self.continual.sequence
        if sequence and len({*sequence}) < max(2, len(sequence)):
            raise ValueError("continual.sequence needs two databases or more, each of them once")
        if self.continual.splits > self.splits.count:
            raise ValueError(f"continual.splits is {self.continual.splits}, but splits.count is {self.splits.count}")
        if self.attribution.split >= self.splits.count:
            raise ValueError(
                f"attribution.split is {self.attribution.split}, but the last split is {self.splits.count - 1}"
            )
        return self


UNNAMED = '"<unicode string>", '  # what YAML calls the text of a file


class _Loader(yaml.SafeLoader):
    """YAML whose mappings have each key once; of a key that occurs twice, YAML's own loader takes the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict:
        keys = [key.value for key, _ in node.value]
        for i, (key, _) in enumerate(node.value):
            if key.value in keys[:i]:
                raise yaml.MarkedYAMLError(problem=f"duplicate key '{key.value}'", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def merge(base: dict[str, Any], over: dict[str, Any], within: str = "") -> dict[str, Any]:
    """``over`` on top of ``base``, key by key. A null deletes the key; lists are replaced."""
    merged = dict(base)
    for key, value in over.items():
        if value is None and key not in base:
            raise UserError(f"'{within}{key}: null' deletes a key that the extended file does not have")
        if value is None:
            del merged[key]
        elif isinstance(value, dict) and isinstance(base.get(key), dict):
            merged[key] = merge(base[key], value, f"{within}{key}.")
        else:
            merged[key] = value
    return merged


def read(path: Path, below: tuple[Path, ...] = ()) -> dict[str, Any]:
    """The settings as written, on top of those of the file that ``extends`` names. Raises UserError if one cannot be read."""
    try:
        raw: Any = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    except FileNotFoundError:
        raise UserError(f"{path} not found; run this in a folder with a params.yaml (the root or demo/)") from None
    except (yaml.YAMLError, ValueError) as error:  # ValueError: not UTF-8, or an impossible date or number
        raise UserError(f"{path} is not valid YAML: {one_line(error, 300).replace(UNNAMED, '')}") from None
    if raw is None and path.name == EXTERNAL:  # its only entry was deleted
        return {}
    parent = raw.pop("extends", None) if isinstance(raw, dict) else None
    if not isinstance(raw, dict):
        raise UserError(f"{path} has no settings; expected groups such as data, splits, adapt")
    if empty := [name for name, group in raw.items() if not isinstance(group, dict)]:
        raise UserError(f"{path}: '{empty[0]}' is not a group of settings; write its keys below it, or remove it")
    if parent is None:
        return raw
    if not isinstance(parent, str) or (path.parent / parent).resolve() in (path.resolve(), *below):
        raise UserError(f"{path}: extends must name another file, such as ../params.yaml")
    base = read(path.parent / parent, (*below, path.resolve()))
    try:
        return merge(base, raw)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def _complete(raw: dict[str, Any]) -> dict[str, Any]:
    """The settings under the first protocol, whose values are put into their groups, with what the ablations generate."""
    if not raw.get("protocols"):
        raise UserError("key 'protocols' is missing; it holds the values of docs/departures.md for each protocol")
    name, groups = next(iter(raw["protocols"])), {}
    first = _validated(protocol_model(), raw["protocols"][name], f"protocols.{name}.")
    for group, settings in schema.DEPARTING.items():
        for key in sorted(departures(settings).keys() & raw.get(group, {}).keys()):
            raise UserError(f"key '{group}.{key}' belongs to the protocols: protocols.{name}.{group}.{key}")
        groups[group] = raw.get(group, {}) | getattr(first, group).model_dump()
    methods = dict(raw.get("methods", {}))
    declared = {n: _validated(Ablation, a, f"ablations.{n}.") for n, a in raw.get("ablations", {}).items()}
    ablations = {n: generate(n, ablation, groups, methods) for n, ablation in declared.items()}
    run = {n: expanded(grid, ablations) for n, grid in raw.get("run", {}).items()}
    listed = {n: a.model_dump() for n, a in ablations.items()}
    return raw | groups | {"protocol": name, "methods": methods, "ablations": listed, "run": run}


def _with_external(path: Path) -> dict[str, Any]:
    """What ``read`` returns and, from external.yaml, methods of others: in their grids, with a question each."""
    raw, external = read(path), path.parent / EXTERNAL
    for name, entry in (read(external) if external.is_file() else {}).items():
        question = {"method": name, "against": entry["against"], "question": f"is {entry['label']} better?"}
        grids = {n: {"methods": [*raw["run"][n]["methods"], name]} for n in entry["grids"] if n in raw["run"]}
        method = {name: {"kind": "external", "label": entry["label"]}}
        pairs = [*raw["evaluate"]["pairs"], question]
        raw = merge(raw, {"methods": method, "run": grids, "evaluate": {"pairs": pairs}})
    return raw


def merged(path: Path) -> str:
    """The settings of a file that ``load`` reads without an error, as YAML, with all that they extend and generate.

    The stages of dvc.yaml depend on it. ``protocol`` names the first one, since DVC compares mappings whatever their order.
    """
    raw = _with_external(path)
    generated = ("protocol", "methods", "ablations", "run")
    complete = {"protocol": None} | raw | {n: group for n, group in _complete(raw).items() if n in generated}
    complete = json.loads(json.dumps(complete, default=str))  # YAML's safe dumper knows no tuples
    return yaml.safe_dump(complete, sort_keys=False, allow_unicode=True, width=120)


def load(path: Path) -> Params:
    """Read and check params.yaml. Raises UserError with one line naming the file, the key and the remedy."""
    raw = _with_external(path)
    try:
        return validate(_complete(raw))
    except UserError as error:
        raise UserError(f"{path}: {error}") from None


def validate(raw: dict[str, Any]) -> Params:
    """Typed settings from the dictionary that ``Params.model_dump`` returns. Raises UserError with a line naming the key."""
    kind = protocol_model()  # the classes of protocols and methods are not known to Params itself
    protocols = {n: _validated(kind, values, f"protocols.{n}.") for n, values in raw["protocols"].items()}
    methods = {n: method_settings(n, values) for n, values in raw["methods"].items()}
    return _validated(Params, raw | {"protocols": protocols, "methods": methods}, "")


def _validated(kind: type[G], raw: Any, within: str) -> G:
    try:
        return kind.model_validate(raw)
    except ValidationError as error:
        raise UserError(explain(error, raw, within)) from None


def method_settings(name: str, raw: Any) -> Method:
    """The settings of a method, checked by the class that its kind has registered. Raises UserError as ``validate`` does."""
    kind = str(raw.get("kind")) if isinstance(raw, dict) else ""
    if kind not in Method.kinds and kind.isidentifier() and find_spec(f"{METHODS}.{kind}"):
        importlib.import_module(f"{METHODS}.{kind}")
    if kind not in Method.kinds:
        raise UserError(f"methods.{name}.kind: '{kind}' is not a kind of method; see docs/methods.md")
    return _validated(Method.kinds[kind], raw, f"methods.{name}.")


def explain(error: ValidationError, raw: Any, within: str = "") -> str:
    """The first problem that pydantic found, naming its key as it is written, and how many more there are."""
    # a mistyped key is both unknown and missing; the unknown one is what the user sees in the file
    first, *rest = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    parts, at = [], raw
    for i, part in enumerate(first["loc"]):  # pydantic also names the members of unions, which are not in the file
        here = part in at if isinstance(at, dict) else isinstance(at, list) and isinstance(part, int)
        if here or (first["type"] == "missing" and i == len(first["loc"]) - 1):
            parts.append(str(part))
            at = at[part] if here else None
    key, given = within + ".".join(parts), first.get("input")
    if first["type"] == "extra_forbidden":
        line = f"unknown key '{key}'; check its spelling against the comments in params.yaml"
    elif first["type"] == "missing":
        line = f"key '{key}' is missing"
    elif first["type"] == "float_type" and isinstance(given, str):
        line = f"key '{key}': '{given}' was read as text, not a number; write it with a point, as in 1.0e-4"
    elif first["type"] == "value_error":
        line = f"{key.rstrip('.')}: {first['ctx']['error']}".removeprefix(": ")
    else:
        line = f"key '{key}': {first['msg'][:1].lower()}{first['msg'][1:]}, got {reprlib.repr(given)}"
    return one_line(line, 500) + (f" (and {len(rest)} more)" if rest else "")
