"""The kinds of methods, and what each can be told."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from grmp.params.base import Group, Positive, Rate

STARTS = ("none", "context", "visual", "random")  # of prompts that are not learned before
META = "meta"  # in a method's prompts: the variant that the protocol names


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
    # other values of keys of adapt and prompts, for this method alone
    set: dict[str, int | float | str | list[str]] = Field(default_factory=dict)

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
