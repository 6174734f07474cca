"""params.yaml -> frozen, typed settings. An unknown key or a wrong type is an error, never a default.

Every group of params.yaml is a class here, so that a DVC stage can depend on just the groups it reads. The settings
that carry a number in ``# departure N`` are those where the published code and a sound protocol differ; the numbers
are those of docs/departures.md. In the file they stand under ``protocols``, once for each protocol; here they are put
into the groups they belong to: ``load`` gives the settings under the first protocol, ``Params.under`` under another.
"""

import reprlib
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, TypeAdapter, ValidationError, model_validator

from grmp.errors import UserError

Positive = Annotated[int, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
STARTS = ("none", "context", "visual", "random")  # of prompts that are not learned before
META = "meta"  # in a method's prompts: the variant that the protocol names
Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]


class Group(BaseModel):
    """Base of every group: strict types, no unknown key, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Paths(Group):
    """Where the code lies, seen from the folder of params.yaml."""

    code: str


class Data(Group):
    """What ``fetch`` and ``prepare`` make."""

    databases: list[str]
    size: Positive  # pictures are kept as size x size
    aspect: Literal["squash", "keep"]  # squash as published (see departure 16), or keep: shorter side + centre crop
    allow_missing: Natural  # pictures that a database may lack; 0 refuses it if one is missing or broken
    livec_training_pictures: bool  # departure 14


class Splits(Group):
    """The seeded 80/20 splits; the first K of a split's training order are its K shots."""

    count: Positive
    test: Fraction
    seed: Natural
    by: Literal["image", "reference"]  # departure 15


class Architecture(Group):
    """Shape of a small CLIP that the pipeline trains itself (open_clip's own configuration keys)."""

    embed_dim: Positive
    image_size: Positive
    patch_size: Positive
    vision_width: Positive
    vision_layers: Positive
    text_width: Positive
    text_layers: Positive


class ContrastiveTraining(Group):
    """How the small CLIP is trained on the pictures and captions of the simulated world."""

    pictures: Positive  # source pictures rendered for training
    steps: Positive
    batch: Positive
    learning_rate: Rate
    seed: Natural
    threads: Positive  # CPU threads; part of what fixes the last bits


class PretrainedBackbone(Group):
    """CLIP weights by open_clip's name and tag, fetched and verified."""

    source: Literal["open_clip"]
    model: str
    pretrained: str
    sha256: str
    normalize: Literal["imagenet", "clip"]  # departure 16


class TrainedBackbone(Group):
    """A small CLIP trained inside the pipeline."""

    source: Literal["world"]
    architecture: Architecture
    training: ContrastiveTraining
    normalize: Literal["imagenet", "clip"]


class Prompts(Group):
    """Shape and start of the soft prompts (facts: visual 100 deep, text 4)."""

    visual_tokens: Natural
    visual_layers: Natural  # how many layers, from the first, get prompts of their own; 0 means every layer
    text_tokens: Natural
    dropout: Annotated[float, Field(ge=0, lt=1)]
    norm: Literal["layer", "identity"]  # departure 17
    classes: Annotated[list[str], Field(min_length=2, max_length=2)]  # best first


class Pretrain(Group):
    """Meta-prompt pre-training, common to all variants."""

    databases: list[str]
    variants: list[str]  # those that the pipeline learns; each is defined under ``variants``
    epochs: Positive
    support_batch: Positive
    query_batch: Positive
    support: Fraction
    drop_last_task: bool  # departure 4
    label_scale: Literal["set", "database"]  # departure 5
    split_by: Literal["image", "reference"]  # departure 6
    select: Literal["target", "last"]  # departure 7
    target: str  # the database that `select: target` reads
    seed: Natural
    threads: Positive


class Variant(Group):
    """One way to learn the meta-prompts; ``models/prompts/<name>.safetensors``."""

    protocol: str  # whose values of the keys of ``pretrain``, ``prompts`` and ``backbone`` hold for it
    reset: Literal["never", "task"]  # departure 1: is the inner model reset to the meta parameters at each task?
    query: Literal["inner", "outer"]  # departure 2: does the query batch step the inner model, or the outer one?
    outer: Literal["average", "adam"]  # departure 3: theta <- theta - rate * direction, or Adam on it
    order: Literal[0, 1, 2]  # 0 Reptile (difference of weights), 1 first-order MAML, 2 MAML
    inner: Literal["adam", "sgd"]
    inner_rate: Rate
    outer_rate: Rate

    @model_validator(mode="after")
    def _consistent(self) -> "Variant":
        if self.order and (self.query, self.reset) != ("outer", "task"):
            raise ValueError("order 1 and 2 (MAML) need query: outer and reset: task")
        if self.order == 2 and self.inner != "sgd":
            raise ValueError("order 2 (MAML) differentiates through plain steps: it needs inner: sgd")
        return self


class Triplets(Group):
    """Prompts learned from the order of distortion levels (grmp/triplets.py); ``models/prompts/<name>.safetensors``."""

    kind: Literal["triplets"]
    protocol: str  # as in Variant
    margin: Rate  # of the loss, in distances of unit-length embeddings
    rate: Rate  # of Adam


def _kind_of_variant(given: Any) -> str:
    kind = given.get("kind") if isinstance(given, dict) else getattr(given, "kind", None)
    return "by triplets" if kind == "triplets" else "by meta-learning"


AnyVariant = Annotated[
    Annotated[Variant, Tag("by meta-learning")] | Annotated[Triplets, Tag("by triplets")],
    Discriminator(_kind_of_variant),
]


class Adapt(Group):
    """Few-shot adaptation, common to all methods."""

    tuned_blocks: Natural
    learning_rate: Rate
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    batch: Positive
    epochs: Positive
    angle_every: Positive  # epochs between two angles in the history of a method without a rule (with one: every epoch)
    evaluate_every: Positive
    patience: Positive  # evaluations without a new best before the rate is multiplied by 0.3 (select: test)
    select: Literal["test", "fixed"]  # departure 8
    label_scale: Literal["set", "database"]  # departure 9
    pair_gradients: Literal["position", "name"]  # departure 10
    batches: Literal["remainder", "even"]  # departure 11
    crops: Literal["batch", "image"]  # departure 12
    views: Natural  # crop/flip pairs drawn once per picture and cycled through; 0 means a fresh one every epoch
    precision: Literal["float16", "bfloat16", "float32"]  # departure 13
    temperature: Rate
    scenes: list[str]
    seed: Natural
    lora_rank: Positive
    cache_gb: Annotated[float, Field(ge=0)] | Literal["auto"]
    splits_at_once: Natural  # 0: as many as a GPU has room for, one on a CPU
    threads: Positive
    device: Literal["auto", "cpu", "cuda", "cuda_deterministic"]


class ZeroShot(Group):
    """Antonym prompts on the frozen backbone; reads no label."""

    kind: Literal["zero_shot"]
    label: str
    templates: Annotated[list[str], Field(min_length=2, max_length=2)]  # best first


class Ridge(Group):
    """Ridge regression on frozen image embeddings, alpha by cross-validation inside the K."""

    kind: Literal["ridge"]
    label: str
    alphas: list[float]


class Tune(Group):
    """Gradient adaptation of the prompted CLIP."""

    kind: Literal["tune"]
    label: str
    prompts: str  # "none", "context" or "visual" (one of the two alone, random), "random" (both), or a variant's name
    train: list[
        Literal["context", "visual_prompts", "blocks", "lora", "all"]
    ]  # blocks, lora: in the last adapt.tuned_blocks
    rule: Literal["none", "published", "prograd", "pcgrad", "cosine_gate"]
    strength: Annotated[float, Field(ge=0)]  # lambda of the rule
    teacher: Literal["clip", "quality"] = (
        "clip"  # of the semantic loss: frozen, or trained on all labels ("upper" control)
    )
    set: dict[
        str, int | float | str | list[str]
    ] = {}  # other values of keys of adapt and prompts, for this method alone

    @model_validator(mode="after")
    def _known_groups(self) -> "Tune":
        for key in self.set:
            if key.split(".")[0] not in ("adapt", "prompts"):
                raise ValueError(f"set: '{key}' is none of adapt.* and prompts.*")
        return self


class Fit(Group):
    """AdamW on a small network beside CLIP, its rate falling along a cosine to zero."""

    epochs: Positive
    learning_rate: Rate
    weight_decay: Annotated[float, Field(ge=0)]
    batch: Positive


class Panel(Group):
    """Attention panel on frozen tokens (grmp/panel.py)."""

    kind: Literal["panel"]
    label: str
    members: Positive  # J
    width: Positive  # of the decoder
    heads: Positive  # of its attention; they share the width
    views: Positive  # crops of each labelled picture
    fit: Fit

    @model_validator(mode="after")
    def _divides(self) -> "Panel":
        if self.width % self.heads:
            raise ValueError(f"width {self.width} cannot be shared by {self.heads} heads; choose a multiple")
        return self


class Distill(Group):
    """A small student of an adapted CLIP (grmp/distill.py)."""

    kind: Literal["distill"]
    label: str
    teacher: str  # a method of kind tune
    fit: Fit


Method = Annotated[ZeroShot | Ridge | Tune | Panel | Distill, Field(discriminator="kind")]


Shots = Positive | Annotated[str, Field(pattern=r"^([1-9]\d?|100)pct$")]  # K, or a share of the training side: 20pct
Cell = tuple[str, str, str, int | str]  # protocol, database, method, shots
ACROSS = "_to_"  # koniq10k_to_livec: trained on the one, tested on the other


def shots(text: str) -> int | str:
    """What the command line says: a number, or a share such as 20pct.

    Raises
    ------
    UserError
        If it is neither.
    """
    try:
        value: int | str = int(text) if text.isdigit() else text
        return TypeAdapter[int | str](Shots).validate_python(value)
    except ValidationError:
        raise UserError(f"'{text}' is no number of labelled pictures; write e.g. 50, or 20pct") from None


class Grid(Group):
    """Every combination of these is one run record; an empty list makes an empty grid."""

    protocols: list[str]
    databases: list[str]
    methods: list[str]
    shots: list[Shots]

    def cells(self) -> Iterator[Cell]:
        """The combinations, in the order of the lists."""
        for p in self.protocols:
            for d in self.databases:
                for m in self.methods:
                    for k in self.shots:
                        yield p, d, m, k


class Run(Group):
    """What is run: four grids without a common cell, each a stage of the pipeline (few_shot is the stage ``adapt``)."""

    few_shot: Grid
    ablation: Grid
    full: Grid
    cross: Grid

    def grids(self) -> dict[str, Grid]:
        """The grids by name."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def cells(self) -> list[Cell]:
        """All combinations of all grids, in order."""
        return [cell for grid in self.grids().values() for cell in grid.cells()]

    def stage(self, cell: Cell) -> str:
        """The pipeline's stage that computes a cell."""
        grid = next((name for name, grid in self.grids().items() if cell in grid.cells()), "few_shot")
        return f"{'adapt' if grid == 'few_shot' else grid}@{'-'.join(map(str, cell))}"

    @model_validator(mode="after")
    def _disjoint(self) -> "Run":
        seen: dict[Cell, str] = {}
        for name, grid in self.grids().items():
            for cell in grid.cells():
                if cell in seen:
                    raise ValueError(
                        f"{'-'.join(map(str, cell))} is in the grids {seen[cell]} and {name}; one is enough"
                    )
                seen[cell] = name
        return self


class Pair(Group):
    """A comparison that the tables make: ``method`` minus ``against``, over the same splits."""

    method: str
    against: str
    question: str


class Evaluate(Group):
    """How scores become tables."""

    resamples: Positive
    level: Fraction
    seed: Natural
    pairs: list[Pair]


class Report(Group):
    """What is rendered."""

    notebooks: list[str]
    title: str


class Steps(Group):
    """How far a few inner steps bring each distortion type; measured under the variant's own settings."""

    variants: list[str]
    databases: list[str]  # with distortion types; those that pre-training has not seen tell whether it carries over
    counts: Annotated[list[Natural], Field(min_length=1)]  # inner steps after which the query pictures are scored


class Look(Group):
    """Which models are looked into, on the databases of ``run.few_shot``, and where."""

    methods: Annotated[list[str], Field(min_length=1)]  # of kind tune; "before" is the first one's start
    shots: Shots
    split: Natural
    pictures: Positive  # how many of the worst, and of the best


class ProtocolData(Group):
    """Departures of the group data."""

    livec_training_pictures: bool


class ProtocolSplits(Group):
    """Departures of the group splits."""

    by: Literal["image", "reference"]


class ProtocolBackbone(Group):
    """Departures of the group backbone."""

    normalize: Literal["imagenet", "clip"]


class ProtocolPrompts(Group):
    """Departures of the group prompts."""

    norm: Literal["layer", "identity"]


class ProtocolPretrain(Group):
    """Departures of the group pretrain."""

    drop_last_task: bool
    label_scale: Literal["set", "database"]
    split_by: Literal["image", "reference"]
    select: Literal["target", "last"]


class ProtocolAdapt(Group):
    """Departures of the group adapt, and the length of its schedule."""

    epochs: Positive
    select: Literal["test", "fixed"]
    label_scale: Literal["set", "database"]
    pair_gradients: Literal["position", "name"]
    batches: Literal["remainder", "even"]
    crops: Literal["batch", "image"]
    precision: Literal["float16", "bfloat16", "float32"]


class Protocol(Group):
    """One complete answer to every departure; ``meta`` is the variant that the word "meta" in a method's prompts means."""

    label: str
    meta: str
    data: ProtocolData
    splits: ProtocolSplits
    backbone: ProtocolBackbone
    prompts: ProtocolPrompts
    pretrain: ProtocolPretrain
    adapt: ProtocolAdapt


DEPARTING = ("data", "splits", "backbone", "prompts", "pretrain", "adapt")  # groups in which protocols differ


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
    steps: Steps
    look: Look
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
        for name in self.steps.variants:
            need(name, self.pretrain.variants, "steps.variants (of pretrain.variants)")
        for name in self.look.methods:
            need(name, self.methods, "look.methods")
        for name in self.pretrain.databases + self.steps.databases:
            need(name, self.data.databases, "pretrain.databases and steps.databases (of data.databases)")
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
