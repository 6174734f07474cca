"""What one split brings to fine-tuning and what comes back."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from grmp.clip.model import Tensors
    from grmp.data.crops import Images

TEACHER_SCENE = "a photo of a {}"  # finetune.py, IQACLIP


@dataclass(frozen=True)
class Texts:
    """Token ids (C, 77) of the quality texts, whose context is trained, and of the scene texts."""

    quality: Tensor
    scenes: Tensor


@dataclass(frozen=True)
class Subset:
    """The training or test images of a split: rows of a prepared database."""

    images: Images  # (N, 3, S, S) uint8, or (N, C, G, G) features of a stem
    quality: np.ndarray  # (N,) in [0, 1]
    rows: np.ndarray  # positions in both
    weights: np.ndarray | None = None  # (N,) of the images in the task loss; None: all equal


@dataclass(frozen=True)
class SplitData:
    """Input of one split. ``test`` is read once, at the end, unless ``settings.select`` is "test" (departure 8)."""

    split: int
    prompts: Tensors  # initial values of the soft prompts
    train: Subset
    test: Subset
    teacher: Tensors | None = None  # weights of the CLIP behind the semantic loss; None: the frozen backbone
    # also return the tensors after the last epoch (``scores`` are theirs only with ``select`` "fixed")
    keep: bool = False

    def untested(self) -> SplitData:
        """The same for its tensors alone; a split needs a test image, and the score of this one is not used."""
        return replace(self, test=replace(self.train, rows=self.train.rows[:1]), keep=True)


@dataclass
class SplitResult:
    """Output of one split. A split that could not be finished has no scores, and ``failure`` states why."""

    scores: np.ndarray = field(default_factory=lambda: np.empty(0))  # (N test,) predicted quality
    history: list[dict[str, float]] = field(default_factory=list)  # one row per epoch
    trained_values: int = 0
    tensors: Tensors | None = None  # the whole fine-tuned CLIP, prompts included, if ``SplitData.keep``
    failure: str | None = None
    chosen: dict[str, float] = field(default_factory=dict)  # settings that were chosen on this split
