"""Quality-aware pre-training of the prompts on the order of distortion levels, in the manner of TRIQA (Sureddi et al., ICIP
2025, arXiv 2507.12687).

As there: triplets of one source picture under one distortion, ordered by level; a triplet margin loss pulls the embedding of
the nearer level to the anchor's and pushes that of the farther one away. Levels are all that it reads: no opinion.

What differs. TRIQA trains a ConvNeXt on a set of its own making and then a regressor on its features beside those of a second,
content-aware network; here the frozen CLIP's visual prompts are trained, on any prepared database with levels, and few-shot
adaptation follows. The text context enters no picture's embedding, so it leaves as it came: random. (Of the paper, the abstract
and the released code were at hand; the margin is ours.)
"""

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from torch import Tensor

from grmp.clip.model import Tensors
from grmp.errors import UserError
from grmp.params import Pretrain, Triplets
from grmp.pretrain.meta import Batch, Inner, Models, View

Embed = Callable[[Tensors, Tensor], Tensor]  # of prompts and pictures (B, 3, S, S) uint8: unit-length embeddings (B, E)


def loss(anchor: Tensor, nearer: Tensor, farther: Tensor, margin: float) -> Tensor:
    """mean max(0, margin + |a - n| - |a - f|) over unit-length embeddings, each (T, E)."""
    return F.triplet_margin_loss(anchor, nearer, farther, margin=margin)


def violated(anchor: Tensor, nearer: Tensor, farther: Tensor) -> Tensor:
    """Share of the triplets whose farther level lies nearer; 0.5 is chance."""
    return ((anchor - nearer).norm(dim=1) >= (anchor - farther).norm(dim=1)).float().mean()


@dataclass(frozen=True)
class Ladder:
    """The pictures of one source under one distortion."""

    rows: np.ndarray  # positions in the prepared array
    levels: np.ndarray  # of each


def ladders_of(name: str, index: pd.DataFrame) -> dict[str, list[Ladder]]:
    """Ladders of at least two levels, by distortion type in sorted order; of one type, one a source picture.

    Raises
    ------
    UserError
        If the database has none, or a type has ladders of one source only.
    """
    labelled = index[index[["reference", "distortion", "level"]].notna().all(axis=1)]
    found: dict[str, list[Ladder]] = {}
    for (kind, _), part in labelled.groupby(["distortion", "reference"], sort=True):
        if part["level"].nunique() >= 2:
            found.setdefault(str(kind), []).append(Ladder(part.index.to_numpy(), part["level"].to_numpy(np.float64)))
    if not found:
        raise UserError(
            f"{name} has no two levels of one distortion of one source picture, so it has no triplets; "
            "choose e.g. tid2013 or kadid10k"
        )
    for kind, ladders in found.items():
        if len(ladders) < 2:
            raise UserError(f"{name}: distortion '{kind}' has levels of one source only; support and query need two")
    return found


def draw(ladders: list[Ladder], rng: np.random.Generator) -> np.ndarray:
    """One triplet (anchor, nearer, farther) of each ladder as rows (T, 3).

    The farther picture is of another level than the anchor; the nearer one is any whose level is nearer, at least the anchor
    itself (of which the batch holds another crop).
    """
    out = []
    for ladder in ladders:
        anchor = rng.integers(len(ladder.rows))
        distance = np.abs(ladder.levels - ladder.levels[anchor])
        farther = rng.choice(np.flatnonzero(distance > 0))
        nearer = rng.choice(np.flatnonzero(distance < distance[farther]))
        out.append([anchor, nearer, farther])
    positions = np.array(out)
    return np.stack([ladder.rows[p] for ladder, p in zip(ladders, positions, strict=True)])


@dataclass(frozen=True)
class Task:
    """The ladders of one distortion type: those that train, and those of other source pictures that tell how well it goes."""

    distortion: str
    support: list[Ladder]
    query: list[Ladder]


def tasks_of(name: str, index: pd.DataFrame, share: float, seed: int) -> list[Task]:
    """One task per distortion type; ``share`` of its source pictures support it, the same ones at every visit."""
    tasks = []
    for number, (kind, ladders) in enumerate(ladders_of(name, index).items()):
        order = np.random.default_rng([seed, number]).permutation(len(ladders))
        count = max(1, min(len(order) - 1, round(share * len(order))))
        tasks.append(Task(kind, [ladders[i] for i in order[:count]], [ladders[i] for i in order[count:]]))
    return tasks


class Learner:
    """The prompts and their Adam: what the ``pretrain`` stage steps and keeps."""

    def __init__(self, theta: Tensors, variant: Triplets) -> None:
        """Start from ``theta``."""
        self.variant, self.inner = variant, Inner(theta, "adam", variant.rate)

    @property
    def prompts(self) -> Tensors:
        """What has been learned so far."""
        return self.inner.prompts

    @property
    def models(self) -> Models:
        """Tensors and optimiser of each model, by name."""
        return {"inner": (self.inner.prompts, self.inner.optimizer)}

    def visit(
        self, task: Task, settings: Pretrain, view: View, embed: Embed, rng: np.random.Generator
    ) -> tuple[list[float], list[float]]:
        """One triplet of each source, a step for each batch; returns the losses on support and query batches."""

        def of(prompts: Tensors, batch: Batch) -> Tensor:
            anchor, nearer, farther = embed(prompts, batch[0]).chunk(3)
            return loss(anchor, nearer, farther, self.variant.margin)

        def batches(ladders: list[Ladder], size: int) -> list[Batch]:
            triplets = draw(ladders, rng)
            parts = np.array_split(triplets, math.ceil(3 * len(triplets) / max(3, size)))
            # crops are drawn for the query too: an anchor that is its own nearer picture is another view of it
            return [view(part.T.ravel(), np.zeros(part.size), rng) for part in parts]

        query = batches(task.query, settings.query_batch)
        steps = [self.inner.step(of, batch) for batch in batches(task.support, settings.support_batch)]
        with torch.no_grad():
            return steps, [float(of(self.inner.prompts, batch)) for batch in query]

    def close(self) -> None:
        """Nothing is left to do after the tasks of one database."""
