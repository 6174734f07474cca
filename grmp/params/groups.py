"""The groups of params.yaml that say how data, models and pages are made. ``# departure N``: see docs/departures.md."""

from typing import Annotated, Any, Literal

from pydantic import Discriminator, Field, Tag, model_validator

from grmp.params.base import Fraction, Group, Natural, Positive, Rate
from grmp.params.grid import Shots


class Paths(Group):
    """Where the code lies, seen from the folder of params.yaml."""

    code: str


class Data(Group):
    """What ``fetch`` and ``prepare`` make."""

    databases: list[str]
    size: Positive  # pictures are kept as size x size
    aspect: Literal["squash", "keep"]  # squash as published (see departure 16), or keep: shorter side + centre crop
    allow_missing: Natural  # pictures that a database may lack; 0 refuses it if one is missing or broken
    keep_excluded: bool  # departure 14


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
    splits_at_once: Natural  # on a GPU; 0: as many as it has room for
    threads: Positive
    device: Literal["auto", "cpu", "cuda", "cuda_deterministic"]


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


class InnerCurves(Group):
    """How far a few inner steps bring each distortion type; measured under the variant's own settings."""

    variants: list[str]
    databases: list[str]  # with distortion types; those that pre-training has not seen tell whether it carries over
    counts: Annotated[list[Natural], Field(min_length=1)]  # inner steps after which the query pictures are scored


class Attribution(Group):
    """Which models are looked into, on the databases of ``run.few_shot``, and where."""

    methods: Annotated[list[str], Field(min_length=1)]  # of kind tune; "before" is the first one's start
    shots: Shots
    split: Natural
    pictures: Positive  # how many of the worst, and of the best
