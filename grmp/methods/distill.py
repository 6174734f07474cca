"""A small student of the fine-tuned CLIP, in the manner of vision-language distillation (Hou and Song, arXiv 2507.15680).

As there: CLIP is first adapted to quality, then its knowledge guides a network of a fraction of its size.

What differs: the teacher is any method of kind ``tune`` after fine-tuning on the K labels, GRMP-IQA for example. It scores
the first ``images`` of the split's training order, which begins with the labelled ones, or all of it if it is shorter. These
scores are all that the student sees: its training reads no label and no test image. Only scores are distilled; the paper
adapts what is distilled to the modalities of the teacher. The student is a plain CNN from a seeded start; theirs is chosen
for its architecture. (Written from the abstract of the paper.)

The student: four 3x3 convolutions of stride 2 with 16, 32, 64 and 128 channels and ReLU, the mean over positions, one linear
map: 97,569 values. It has no normalisation layers, because brightness and contrast are part of quality.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal

import numpy as np

from grmp.errors import UserError
from grmp.finetune.types import SplitResult
from grmp.methods.context import RunContext, Splitwise
from grmp.params import Fit, Method, Params, Positive, Tune, need

if TYPE_CHECKING:
    from torch import Tensor, nn

CHANNELS = (3, 16, 32, 64, 128)
BATCH = 8  # images of a forward pass without gradients: what a batch of them needs fits a CPU's cache


class Distill(Method):
    """The teacher and the student's training."""

    reads = ("adapt.seed", "adapt", "prompts")

    kind: Literal["distill"]
    teacher: str  # a method of kind tune
    images: Positive  # at most, of the training side: those that the teacher scores and the student learns from
    fit: Fit

    @property
    def learns_from(self) -> str:
        """The teacher."""
        return self.teacher

    @property
    def taught_on(self) -> float:
        """The student's training images."""
        return self.images

    @property
    def beside_clip(self) -> float:
        """The student's training at 224 x 224 pixels: two operations for each product, a pass forward and two back."""
        products = sum(9 * a * b * (224 / 2**n) ** 2 for n, (a, b) in enumerate(pairwise(CHANNELS), start=1))
        return 6 * products * self.images * self.fit.epochs

    def check(self, params: Params) -> None:
        """The teacher is a method of kind tune."""
        need(self.teacher, params.tuned, "teacher")


def student() -> nn.Module:
    """The network: normalised pixels (B, 3, S, S) -> scores (B,)."""
    from torch import nn

    layers = [f for a, b in pairwise(CHANNELS) for f in (nn.Conv2d(a, b, 3, stride=2, padding=1), nn.ReLU())]
    network = nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    network.add_module("head", nn.Linear(CHANNELS[-1], 1))
    return network.append(nn.Flatten(0))


def learn(
    ctx: RunContext, rows: np.ndarray, scores: np.ndarray, settings: Fit, seed: tuple[int, int]
) -> tuple[nn.Module, SplitResult]:
    """A student of the teacher's ``scores`` (M,) on the images ``rows`` (M,), and the result of its training, without scores.

    Every epoch sees each image once, under a new crop and flip of the size that CLIP reads.
    """
    import torch

    from grmp.clip.model import pixels
    from grmp.data.crops import crop, per_image
    from grmp.methods import small_net

    images, shape = ctx.source.images, ctx.backbone.shape
    margin = images.shape[-1] - shape.image_size

    def inputs(members: np.ndarray, epoch: int) -> Tensor:
        x = crop(images, per_image(rows[members], margin, seed, epoch), shape.image_size)
        # channels last: a fifth faster on a CPU, which spends nearly all of the time in convolutions
        return pixels(x.to(ctx.device), shape).contiguous(memory_format=torch.channels_last)

    return small_net.learn(student, inputs, scores, settings, seed, ctx.device)


def prepare(ctx: RunContext, method: Distill) -> Splitwise:
    """Fine-tune the teacher on each split, let it score images of the training side, train the student on its scores.

    Raises UserError if the context holds features of a stem in place of images, as that of ``grmp train`` does.
    """
    from grmp.data.splits import Splits
    from grmp.methods import tune

    if ctx.source.images.shape[1] != 3:
        raise UserError(
            "a method of kind distill learns from pixels, which grmp train does not keep for this CLIP; leave it out"
        )
    teacher = ctx.params.methods[method.teacher]
    assert isinstance(teacher, Tune)  # checked when the settings are read
    ranks = ctx.splits.ranks  # the teacher tests on what the student learns from
    learned = Splits(np.where((ranks >= 0) & (ranks < method.images), -1, -2))
    # the teacher stops at its last epoch under any protocol, so that it learns nothing from test labels
    fixed = ctx.params.changed({"adapt.select": "fixed"})
    teach = tune.prepare(replace(ctx, params=fixed, target=ctx.source, tested=learned), teacher)

    def one(split: int, taught: SplitResult) -> SplitResult:
        if taught.failure:
            return taught
        seed = ctx.params.adapt.seed, split
        network, result = learn(ctx, learned.test(split), taught.scores, method.fit, seed)
        if result.failure:
            return result
        scores = ctx.backbone.map(network, ctx.target.images, ctx.tested.test(split), BATCH)
        return replace(result, scores=scores.numpy())

    return lambda numbers: [one(*pair) for pair in zip(numbers, teach(numbers), strict=True)]
