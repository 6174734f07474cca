"""Complete answers to every departure of docs/departures.md, side by side."""

from typing import Literal

from grmp.params.base import Group, Positive


class ProtocolData(Group):
    """Departures of the group data."""

    keep_excluded: bool


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
