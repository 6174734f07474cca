"""Pre-training of the prompts on the order of distortion levels, in the manner of TRIQA (Sureddi et al., ICIP 2025, arXiv
2507.12687).

As there: triplets of one source image under one distortion, ordered by level; a triplet margin loss pulls the embedding of
the nearer level to the anchor's and pushes that of the farther one away. It reads levels only, no ratings.

What differs: TRIQA trains a ConvNeXt on a dataset of its own and then a regressor on its features together with those of a
second, content-aware network. Here the visual prompts of the frozen CLIP are trained, on any prepared database with levels,
and few-shot fine-tuning follows. The text context does not enter image embeddings and stays random. (We had the paper's
abstract and its released code; the margin is ours.)
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from grmp.clip.model import Backbone, PromptDropout, Tensors, pixels
from grmp.data.crops import Images
from grmp.errors import UserError
from grmp.params import Pretrain, Triplets
from grmp.pretrain.meta import Batch, Inner, Losses
from grmp.pretrain.tasks import load

# The images of one source under one distortion: positions in the prepared array, and the level of each.
Ladder = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True)
class Task:
    """The ladders of one distortion type: those that train, and those of other sources that are evaluated."""

    distortion: str
    support: list[Ladder]
    query: list[Ladder]


def tasks_of(name: str, index: pd.DataFrame, settings: Pretrain) -> list[Task]:
    """One task per distortion type, in sorted order; the same share of its sources supports it at every visit.

    Raises UserError if the database has no ladder of two levels, or a type has ladders of a single source.
    """
    labelled = index[index[["reference", "distortion", "level"]].notna().all(axis=1)]
    found: dict[str, list[Ladder]] = {}
    for (kind, _), part in labelled.groupby(["distortion", "reference"], sort=True):
        if part["level"].nunique() >= 2:
            found.setdefault(str(kind), []).append((part.index.to_numpy(), part["level"].to_numpy(np.float64)))
    if not found:
        raise UserError(
            f"{name} has no two levels of one distortion of one source image, so it has no triplets; "
            "choose e.g. tid2013 or kadid10k"
        )
    tasks = []
    for number, (kind, ladders) in enumerate(found.items()):
        if len(ladders) < 2:
            raise UserError(f"{name}: distortion '{kind}' has levels of one source only; support and query need two")
        order = np.random.default_rng([settings.seed, number]).permutation(len(ladders))
        count = max(1, min(len(order) - 1, round(settings.support * len(order))))
        tasks.append(Task(kind, [ladders[i] for i in order[:count]], [ladders[i] for i in order[count:]]))
    return tasks


def draw(ladders: list[Ladder], rng: np.random.Generator) -> np.ndarray:
    """One triplet (anchor, nearer, farther) of each ladder, as rows (N, 3).

    The farther image is of another level than the anchor; the nearer one is any image whose level is nearer, possibly the
    anchor itself (another crop of it).
    """
    out = []
    for rows, levels in ladders:
        anchor = rng.integers(len(rows))
        distance = np.abs(levels - levels[anchor])
        farther = rng.choice(np.flatnonzero(distance > 0))
        nearer = rng.choice(np.flatnonzero(distance < distance[farther]))
        out.append(rows[[anchor, nearer, farther]])
    return np.array(out)


class Learner:
    """The prompts and their Adam, trained task by task (train.Learner)."""

    def __init__(
        self, theta: Tensors, variant: Triplets, settings: Pretrain, backbone: Backbone, dropout: float
    ) -> None:
        """Start from ``theta``. Raises UserError if it has no visual prompts: a text never enters this loss."""
        if "visual.prompt_embeddings" not in theta:
            raise UserError("triplets train visual prompts, of which there are none; set prompts.visual_tokens")
        self.variant, self.settings, self.backbone, self.dropout = variant, settings, backbone, dropout
        self.inner = Inner(theta, "adam", variant.rate)
        self.prompts = self.inner.prompts
        self.models = {"inner": (self.prompts, self.inner.optimizer)}

    def batches(self, task: Task, images: list[Images], rng: np.random.Generator) -> tuple[list[Batch], list[Batch]]:
        """Support and query batches, one triplet of each source: images are the anchors, the nearer, then the farther ones.

        Query images are cropped at random, too: an anchor that is its own nearer image is another view of it.
        """

        def of(ladders: list[Ladder], size: int) -> list[Batch]:
            triplets = draw(ladders, rng)
            parts = np.array_split(triplets, math.ceil(3 * len(triplets) / max(3, size)))
            place = self.backbone.shape.image_size, self.backbone.device
            return [load(images[0], part.T.ravel(), np.zeros(part.size), *place, rng) for part in parts]

        query = of(task.query, self.settings.query_batch)
        return of(task.support, self.settings.support_batch), query

    def visit(self, batches: tuple[list[Batch], list[Batch]], seed: Sequence[int]) -> Losses:
        """A step for each support batch of a task on mean max(0, margin + |a - n| - |a - f|); ``seed`` is that of dropout."""
        dropout = PromptDropout(self.dropout, self.prompts, [seed])

        def loss(prompts: Tensors, batch: Batch) -> Tensor:
            masks = [m.squeeze(0) for m in dropout.masks(len(batch[0]))]
            image = self.backbone.prompted(prompts).image(pixels(batch[0], self.backbone.shape), *masks)
            anchor, nearer, farther = image.chunk(3)
            return F.triplet_margin_loss(anchor, nearer, farther, margin=self.variant.margin)

        steps = [self.inner.step(loss, batch) for batch in batches[0]]
        with torch.no_grad():
            return steps, [float(loss(self.prompts, batch)) for batch in batches[1]]

    def renew(self) -> None:
        """Adam keeps its moments through all tasks."""

    def outer_step(self) -> None:
        """There is no outer model."""
