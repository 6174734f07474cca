"""The groups of params.yaml as typed classes. An unknown key or a wrong type is an error.

``Departure(n)`` marks the settings in which the released code and a sound protocol differ; ``n`` is the number in
docs/departures.md. Those of the groups in ``DEPARTING`` are written under ``protocols``, once per protocol, and are put into
their groups when the file is read.
"""

import re
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, get_args

from pydantic import BaseModel, Discriminator, Field, Tag, create_model, model_validator

from grmp.params.grid import Group, Shots

if TYPE_CHECKING:
    from grmp.params.load import Params

Positive = Annotated[int, Field(gt=0)]
Natural = Annotated[int, Field(ge=0)]
Rate = Annotated[float, Field(gt=0)]
Fraction = Annotated[float, Field(gt=0, lt=1)]
Value = int | float | str | list[str]  # of a setting that an ablation or a method changes


class Departure(int):
    """Marks a setting as the departure of docs/departures.md with this number; 0 for one that only has to follow another."""


class Paths(Group):
    """Locations, relative to the pipeline folder."""

    code: str  # the folder with grmp/, notebooks/ and the full params.yaml


class Data(Group):
    """Prepared databases."""

    databases: list[str]
    size: Positive  # images are stored as size x size
    aspect: Literal["squash", "keep"]  # squash: as published (departure 16); keep: shorter side, then centre crop
    allow_missing: Natural  # how many images of a database may be missing or unreadable
    keep_excluded: Annotated[bool, Departure(14)]
    resize: Annotated[Literal["opencv", "pillow"], Departure(18)]


class Splits(Group):
    """Seeded 80/20 splits; the first K images in the training order of a split are its K shots."""

    count: Positive
    test: Fraction
    seed: Natural
    by: Annotated[Literal["image", "reference"], Departure(15)]


Normalize = Annotated[Literal["imagenet", "clip"], Departure(16)]


class PretrainedBackbone(Group):
    """CLIP weights named as in open_clip, downloaded and verified."""

    source: Literal["open_clip"]
    model: str
    pretrained: str
    sha256: str
    normalize: Normalize

    @property
    def title(self) -> str:
        """As `grmp train --backbone` names it, or what open_clip calls it."""
        openai = self.pretrained == "openai" and self.model.startswith("ViT-B-16")
        return "openai" if openai else f"{self.model} {self.pretrained}"

    @property
    def patch(self) -> int:
        """Side of a patch in pixels: 16 of ViT-B-16."""
        found = re.search(r"ViT-\w+-(\d+)", self.model)
        return int(found[1]) if found else 16


class ShippedBackbone(Group):
    """A small CLIP for photographs from the package; docs/models.md states what each was trained on."""

    source: Literal["shipped"]
    name: Literal["small", "small-rated"]
    normalize: Normalize  # without effect: the stem was trained on its own

    @property
    def title(self) -> str:
        """As `grmp train --backbone` names it."""
        return self.name

    @property
    def patch(self) -> int:
        """Side of a cell of the stem in pixels."""
        return 32


class Prompts(Group):
    """Shape and initial values of the soft prompts."""

    visual_tokens: Natural
    visual_layers: Natural  # how many layers, from the first, have prompts; 0: all
    text_tokens: Natural
    dropout: Annotated[float, Field(ge=0, lt=1)]
    norm: Annotated[Literal["layer", "identity"], Departure(17)]
    classes: Annotated[list[str], Field(min_length=2, max_length=2)]  # the better class first


class Pretrain(Group):
    """Pre-training of meta-prompts, common to all variants."""

    databases: list[str]
    variants: list[str]  # those the pipeline learns; each is defined under ``variants``
    epochs: Positive
    support_batch: Positive
    query_batch: Positive
    support: Fraction
    drop_last_task: Annotated[bool, Departure(4)]
    label_scale: Annotated[Literal["set", "database"], Departure(5)]
    split_by: Annotated[Literal["image", "reference"], Departure(6)]
    select: Annotated[Literal["target", "last"], Departure(7)]
    resize: Annotated[Literal["skimage", "shared"], Departure(19)]  # shared: data.resize
    target: str  # the database read with ``select: target``
    seed: Natural
    seeds: Positive  # independent runs, from seed on; split s of a database starts from run s modulo their number
    threads: Positive


class Variant(Group):
    """One way to learn the meta-prompts; ``models/prompts/<name>.safetensors``."""

    protocol: str  # the protocol whose values of ``pretrain``, ``prompts`` and ``backbone`` apply
    reset: Annotated[Literal["never", "task"], Departure(1)]  # whether each task starts from the meta parameters
    query: Annotated[Literal["inner", "outer"], Departure(2)]  # which model the query batch updates
    outer: Annotated[Literal["average", "adam"], Departure(3)]  # theta <- theta - rate * direction, or Adam
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
    """Prompts learned from the order of distortion levels (grmp/pretrain/triplets.py)."""

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
    """Few-shot fine-tuning, common to all methods."""

    tuned_blocks: Natural
    learning_rate: Rate
    momentum: Annotated[float, Field(ge=0, lt=1)]
    weight_decay: Annotated[float, Field(ge=0)]
    batch: Positive
    batch_synthetic: Annotated[Positive, Departure(10)]  # the batch on databases of kind synthetic
    epochs: Annotated[Positive, Departure(0)]
    angle_every: Positive  # epochs between two gradient angles in the history of a method without a rule
    evaluate_every: Positive
    patience: Positive  # evaluations without a new best before the rate is multiplied by 0.3 (select: test)
    select: Annotated[Literal["test", "fixed"], Departure(8)]
    label_scale: Annotated[Literal["set", "database"], Departure(9)]
    batches: Annotated[Literal["remainder", "even"], Departure(11)]
    crops: Annotated[Literal["batch", "image"], Departure(12)]
    views: Natural  # crops drawn per image and visited cyclically; 0: a new one every epoch
    precision: Annotated[Literal["float16", "bfloat16", "float32"], Departure(13)]
    prompt_dropout: Annotated[float, Field(ge=0, lt=1), Departure(20)]  # of the visual prompts, in training
    temperature: Rate
    scenes: list[str]
    seed: Natural
    lora_rank: Positive
    cache_gb: Annotated[float, Field(ge=0)] | Literal["auto"]
    splits_at_once: Natural  # on a GPU; 0: as many as fit
    threads: Positive
    device: Literal["auto", "cpu", "cuda", "cuda_deterministic"]


class Method(Group):
    """Base of the settings of every kind of method.

    A subclass lies in ``grmp/methods/<kind>.py``, beside the function that runs it, and registers itself here.
    """

    kinds: ClassVar[dict[str, type["Method"]]] = {}
    reads: ClassVar[tuple[str, ...]] = ()  # other settings that its numbers depend on: a group, or group.key
    computed: ClassVar[bool] = True  # False: its records come from elsewhere

    kind: str
    label: str  # in tables and figures

    @classmethod
    def __pydantic_init_subclass__(cls, **kwargs: Any) -> None:
        super().__pydantic_init_subclass__(**kwargs)
        Method.kinds[get_args(cls.model_fields["kind"].annotation)[0]] = cls

    @property
    def learns_from(self) -> str:
        """Name of the method that teaches this one; empty if there is none."""
        return ""

    @property
    def repeats(self) -> float:
        """Fine-tunings on K labels that precede the last one, for estimates of time."""
        return 0.0

    @property
    def taught_on(self) -> float:
        """Images that the teacher scores, at most, for estimates of time."""
        return float("inf")

    @property
    def beside_clip(self) -> float:
        """Operations of one split that no CLIP does, for estimates of time."""
        return 0.0

    def check(self, params: "Params") -> None:
        """Raise ValueError, naming the key, where a value does not fit the other settings."""


STARTS = ("none", "context", "visual", "random")  # initial prompts that are not pre-trained
META = "meta"  # as a method's ``prompts``: the variant that the protocol names


class Tune(Method):
    """Few-shot fine-tuning of the prompted CLIP (grmp/methods/tune.py). It is defined here because grmp/finetune reads it."""

    reads = ("adapt", "prompts")

    kind: Literal["tune"]
    prompts: str  # one of STARTS ("random": context and visual prompts), a variant, or "meta"
    # blocks, lora: the last adapt.tuned_blocks
    train: list[Literal["context", "visual_prompts", "blocks", "lora", "norms", "all"]]
    rule: str  # a name in RULES of grmp/finetune/gradient_rules.py
    strength: Annotated[float, Field(ge=0)]  # lambda of the rule
    teacher: Literal["clip", "quality"] = "clip"  # of the semantic loss: frozen, or trained on all labels (a control)
    set: dict[str, Value] = Field(default_factory=dict)  # values of adapt.* and prompts.* of its own

    def check(self, params: "Params") -> None:
        """The initial prompts exist."""
        need(self.prompts, {*STARTS, META, *params.variants}, "prompts")


class Fit(Group):
    """Training schedule of a small network: AdamW, its rate falling along a cosine to zero."""

    epochs: Positive
    learning_rate: Rate
    weight_decay: Annotated[float, Field(ge=0)]
    batch: Positive


def need(name: str, known: Any, where: str) -> None:
    """Raise ValueError unless ``name`` is one of ``known``."""
    if name not in known:
        raise ValueError(f"{where}: '{name}' is not defined; known: {', '.join(sorted(known))}")


class Ablation(Group):
    """One setting of one method at several values; every value that the base does not have is a method of its own."""

    base: str  # a method of kind tune
    key: str  # a key of the method (strength), or one of adapt.* and prompts.*
    title: str  # the setting in words
    label: str  # of the generated methods; {} stands for the value
    values: list[int | float | str] | dict[str, Value]  # values, or method name: value
    also: dict[str, Value] = Field(default_factory=dict)  # points that are methods already
    points: list[tuple[Any, str]] = Field(default_factory=list)  # (value, method), with the base; never written by hand


class Pair(Group):
    """A comparison in the tables: ``method`` minus ``against``, over the same splits."""

    method: str
    against: str
    question: str


class Evaluate(Group):
    """From scores to tables."""

    resamples: Positive
    level: Fraction
    seed: Natural
    pairs: list[Pair]


class Report(Group):
    """The site."""

    notebooks: list[str]
    title: str
    parts: list[Pair]  # what each part of the method is worth, with and without the other


class InnerCurves(Group):
    """Loss after a few inner steps on each distortion type, under the settings of each variant."""

    variants: list[str]
    databases: list[str]  # with distortion types; those unseen in pre-training show how far it generalises
    counts: Annotated[list[Natural], Field(min_length=1)]  # inner steps after which the query images are scored


class Continual(Group):
    """Databases that are learned one after another (grmp/experiments/continual.py)."""

    sequence: list[str]  # in the order in which they are learned; empty: nothing is run
    method: str  # of kind tune: what is trained
    shots: Shots
    splits: Positive  # how many, from the first
    clusters: Positive  # centroids of each database in the gate


class Attribution(Group):
    """Which models are explained, on the databases of ``run.few_shot``."""

    methods: Annotated[list[str], Field(min_length=1)]  # of kind tune; "before" is the initial state of the first
    shots: Shots
    split: Natural
    images: Positive  # how many of the worst images, and of the best


DEPARTING: dict[str, type[Group]] = {
    "data": Data,
    "splits": Splits,
    "backbone": PretrainedBackbone,
    "prompts": Prompts,
    "pretrain": Pretrain,
    "adapt": Adapt,
}


def departures(group: type[BaseModel]) -> dict[str, int]:
    """The marked fields of a group: name -> number."""
    marks = {n: [m for m in f.metadata if isinstance(m, Departure)] for n, f in group.model_fields.items()}
    return {name: int(found[0]) for name, found in marks.items() if found}


class Protocol(Group):
    """One value for every departure; ``protocol_model`` adds a field for each group of DEPARTING."""

    label: str
    meta: str  # the variant that "meta" means in a method's prompts


def protocol_model() -> type[Protocol]:
    """Protocol with a group for each of DEPARTING that holds its departures."""
    groups: dict[str, Any] = {}
    for name, group in DEPARTING.items():
        made: dict[str, Any] = {n: (group.model_fields[n].annotation, group.model_fields[n]) for n in departures(group)}
        groups[name] = create_model(f"Protocol{group.__name__}", __base__=Group, **made), ...
    return create_model("Protocol", __base__=Protocol, **groups)
