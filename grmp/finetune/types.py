"""What one split brings to adaptation and what it gives."""

from dataclasses import dataclass, field

import numpy as np
from torch import Tensor

from grmp.clip.model import Tensors
from grmp.data.crops import Pictures

TEACHER_SCENE = "a photo of a {}"  # finetune.py, IQACLIP


@dataclass(frozen=True)
class Texts:
    """Token ids (C, 77) of the quality texts, whose context is trained, and of the scene texts."""

    quality: Tensor
    scenes: Tensor


@dataclass(frozen=True)
class Side:
    """The training or the test side of a split: rows of a prepared database."""

    images: Pictures  # (N, 3, S, S) uint8
    quality: np.ndarray  # (N,) in [0, 1]
    rows: np.ndarray  # positions in both


@dataclass(frozen=True)
class Job:
    """What one split brings. ``test`` is read once, at the end, unless ``settings.select`` is "test" (departure 8)."""

    split: int
    prompts: Tensors  # where its soft prompts start
    train: Side
    test: Side
    teacher: Tensors | None = None  # a CLIP's weights for the semantic loss; None: the frozen backbone's
    keep: bool = False  # give back the adapted tensors too; they are of the last epoch, so only with ``select`` "fixed"


@dataclass
class Outcome:
    """What one split gave."""

    scores: np.ndarray  # (N test,) predicted quality
    history: list[dict[str, float]] = field(default_factory=list)
    trained_values: int = 0
    tensors: Tensors | None = None  # the whole adapted CLIP, prompts included, where the job asks for it


class SplitFailure(Exception):
    """This split cannot be finished (a loss that is not finite); the message says where. The rest goes on."""
