"""params.yaml -> frozen, typed settings. An unknown key or a wrong type is an error, never a default.

Every group of params.yaml is a class here, so that a DVC stage can depend on just the groups it reads. The settings
that carry a number in ``# departure N`` are those where the published code and a sound protocol differ; the numbers
are those of docs/departures.md.
"""

from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from grmp.errors import UserError

Positive = Annotated[int, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
STARTS = ("none", "context", "visual", "random")  # of prompts that are not learned before
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
    cache_gb: Annotated[float, Field(ge=0)]
    threads: Positive
    device: Literal["auto", "cpu", "cuda"]


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
    train: list[Literal["context", "visual_prompts", "blocks", "all"]]  # "blocks": the last adapt.tuned_blocks
    rule: Literal["none", "published", "prograd", "pcgrad", "cosine_gate"]
    strength: Annotated[float, Field(ge=0)]  # lambda of the rule


Method = Annotated[ZeroShot | Ridge | Tune, Field(discriminator="kind")]


class Run(Group):
    """The matrix of what is run."""

    databases: list[str]
    methods: list[str]
    shots: list[Positive]


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


class Params(Group):
    """All of params.yaml."""

    paths: Paths
    data: Data
    splits: Splits
    backbone: Annotated[PretrainedBackbone | TrainedBackbone, Field(discriminator="source")]
    prompts: Prompts
    pretrain: Pretrain
    variants: dict[str, Variant]
    adapt: Adapt
    methods: dict[str, Method]
    run: Run
    evaluate: Evaluate
    report: Report

    @model_validator(mode="after")
    def _names_exist(self) -> "Params":
        known = ", ".join(sorted(self.methods))
        for name in self.run.methods + [n for p in self.evaluate.pairs for n in (p.method, p.against)]:
            if name not in self.methods:
                raise ValueError(f"method '{name}' is not defined under methods; known: {known}")
        for name, method in self.methods.items():
            if isinstance(method, Tune) and method.prompts not in {*STARTS, *self.variants}:
                raise ValueError(f"methods.{name}.prompts: '{method.prompts}' is neither random nor a variant")
        for name in self.pretrain.variants:
            if name not in self.variants:
                raise ValueError(f"pretrain.variants: '{name}' is not defined under variants")
        for name in self.run.databases + self.pretrain.databases:
            if name not in self.data.databases:
                raise ValueError(f"database '{name}' is used but not listed in data.databases")
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
    except yaml.YAMLError as error:
        raise UserError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(raw, dict):
        raise UserError(f"{path} holds no settings; expected groups such as data, splits, adapt")
    try:
        return Params.model_validate(raw)
    except ValidationError as error:
        raise UserError(f"{path}: {_one_line(error)}") from None


def _one_line(error: ValidationError) -> str:
    """The first complaint of pydantic in our words, and how many more there are."""
    # a mistyped key is both unknown and missing; the unknown one is what the user sees in the file
    first, *rest = sorted(error.errors(), key=lambda e: e["type"] != "extra_forbidden")
    key = ".".join(
        str(part) for part in first["loc"] if part not in {"zero_shot", "ridge", "tune", "open_clip", "world"}
    )
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
        line = f"key '{key}': {first['msg'].lower()}, got {given!r}"
    return line + (f" (and {len(rest)} more)" if rest else "")
