"""Meta-prompt pre-training: learn where soft prompts should start, from one task per distortion type.

A visit to a task draws a fresh support/query split of its pictures. The inner model takes steps on the support batches; what
the query batches and the outer step do is the variant's choice (params.Variant; docs/departures.md, 1 to 3):

    reset never, query inner, outer average, order 0   the released code: one long joint training of the inner model, of
                                                       which the meta model is a slow average (pretrain.py, train_model)
    reset task,  query inner, outer average, order 0   Reptile: theta <- theta - rate * mean_i (theta - theta_i)
    reset task,  query outer, order 1                  first-order MAML: the mean query gradient at theta_i
    reset task,  query outer, order 2                  MAML: the same, differentiated through the inner (SGD) steps

Only the prompts are trained; the backbone stays as it is.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from grmp.clip.model import Tensors
from grmp.clip.vmap import over_splits
from grmp.data import databases
from grmp.data.dataset import source_ids
from grmp.errors import UserError
from grmp.params import Pretrain, Variant

Batch = tuple[Tensor, Tensor]  # images (B, 3, S, S) uint8, targets (B,)
Loss = Callable[[Tensors, Batch], Tensor]
View = Callable[
    [np.ndarray, np.ndarray, np.random.Generator | None], Batch
]  # of rows and targets; no generator: centre crops
Drop = Callable[[Tensor], Tensor]  # dropout on each image's copy of the prompts
LossUnder = Callable[[Drop | None], Loss]
Models = dict[str, tuple[Tensors, torch.optim.Optimizer]]


class Inner:
    """The model that a task trains: prompts as leaves, and their optimiser."""

    def __init__(self, theta: Tensors, optimizer: str, rate: float) -> None:
        """Start from a copy of ``theta``."""
        self.prompts = {n: t.detach().clone().requires_grad_() for n, t in theta.items()}
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
        self.optimizer = kind(self.prompts.values(), lr=rate)

    def step(self, loss: Loss, batch: Batch) -> Any:
        """One gradient step on one batch; returns the loss before it (of several tasks together, a list)."""
        self.optimizer.zero_grad(set_to_none=True)
        value = loss(self.prompts, batch)
        value.sum().backward()
        self.optimizer.step()
        return value.detach().tolist()


@dataclass
class Visit:
    """What one task gave: the direction for the outer step (theta moves against it) and the losses on the way."""

    direction: Tensors
    support_losses: list[Any]  # a number a batch; of several tasks together, a list of theirs
    query_losses: list[Any]


def visit(theta: Tensors, inner: Inner, batches: Iterable[tuple[Batch, Batch]], loss: Loss, variant: Variant) -> Visit:
    """Train ``inner`` on one task's (support, query) batches, and say where the outer step should go."""
    if variant.order == 2:
        return _visit_second_order(theta, list(batches), loss, variant.inner_rate)
    support_losses: list[Any] = []
    query_losses: list[Any] = []
    queries = []
    for support, query in batches:
        support_losses.append(inner.step(loss, support))
        if variant.query == "inner":
            query_losses.append(inner.step(loss, query))
        else:
            queries.append(query)
    if variant.order == 0:
        for query in queries:  # Reptile without query steps: the query only tells how well it went
            with torch.no_grad():
                query_losses.append(loss(inner.prompts, query).tolist())
        return Visit({n: theta[n] - t.detach() for n, t in inner.prompts.items()}, support_losses, query_losses)
    values = [loss(inner.prompts, query) for query in queries]
    direction = torch.autograd.grad(torch.stack(values).mean(0).sum(), list(inner.prompts.values()))
    query_losses = [v.detach().tolist() for v in values]
    return Visit(dict(zip(inner.prompts, direction, strict=True)), support_losses, query_losses)


def _visit_second_order(theta: Tensors, batches: Sequence[tuple[Batch, Batch]], loss: Loss, rate: float) -> Visit:
    """MAML: the query gradient with respect to theta, through plain SGD steps on the support batches."""
    start = {n: t.detach().clone().requires_grad_() for n, t in theta.items()}
    prompts, support_losses = start, []
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention kernels cannot be differentiated twice
        for support, _ in batches:
            value = loss(prompts, support)
            support_losses.append(value.detach().tolist())
            grads = torch.autograd.grad(value.sum(), list(prompts.values()), create_graph=True)
            prompts = {n: t - rate * g for (n, t), g in zip(prompts.items(), grads, strict=True)}
        values = [loss(prompts, query) for _, query in batches]
        direction = torch.autograd.grad(torch.stack(values).mean(0).sum(), list(start.values()))
    return Visit(dict(zip(start, direction, strict=True)), support_losses, [v.detach().tolist() for v in values])


def visit_together(
    theta: Tensors,
    batches: Sequence[list[tuple[Batch, Batch]]],
    loss: LossUnder,
    drops: Sequence[Drop | None],
    prompted_blocks: int,
    variant: Variant,
) -> list[Visit]:
    """Visits to several tasks as one, each from ``theta`` (reset: task): prompts are stacked and steps mapped by vmap.

    Tasks share no tensor that is trained, and both optimisers treat each value alone, so every task gets what it gets alone.
    ``batches`` of the tasks must have equal shapes. ``drops`` is each task's dropout, drawn from in the order of a visit alone.
    """
    count, width = len(batches), theta["ctx"].new_empty(0)

    def masks(size: int) -> Tensor:
        """(T, blocks, B, P, D): what each block's prompts are multiplied by."""
        shape = (size, *theta["visual.prompt_embeddings"].shape[1:])
        return torch.stack(
            [torch.stack([d(width.new_ones(shape)) for _ in range(prompted_blocks)]) for d in drops if d is not None]
        )

    def together(prompts: Tensors, batch: Batch) -> Tensor:
        images, targets = batch

        def one(prompts: Tensors, images: Tensor, targets: Tensor, *kept: Tensor) -> Tensor:
            of_blocks = iter(kept[0]) if kept else None
            drop = None if of_blocks is None else lambda t: t * next(of_blocks)
            return loss(drop)(prompts, (images, targets))

        drawn = [masks(images.shape[1])] if drops[0] is not None else []
        out: Tensor = over_splits(one, prompts, images, targets, *drawn)
        return out

    def stacked(parts: Sequence[Batch]) -> Batch:
        images, targets = (torch.stack(column) for column in zip(*parts, strict=True))
        return images, targets

    steps = [tuple(stacked(side) for side in zip(*step, strict=True)) for step in zip(*batches, strict=True)]
    start = {n: t.expand(count, *t.shape) for n, t in theta.items()}
    inner = Inner(start, variant.inner, variant.inner_rate)
    done = visit(start, inner, [(s, q) for s, q in steps], together, variant)
    return [
        Visit(
            {n: t[i] for n, t in done.direction.items()},
            [of_tasks[i] for of_tasks in done.support_losses],
            [of_tasks[i] for of_tasks in done.query_losses],
        )
        for i in range(count)
    ]


def mean_direction(visits: Sequence[Visit]) -> Tensors:
    """The outer direction: the mean over tasks."""
    return {n: torch.stack([v.direction[n] for v in visits]).mean(0) for n in visits[0].direction}


class Outer:
    """theta <- theta - rate * direction ("average", as published), or Adam on that direction (departure 3)."""

    def __init__(self, theta: Tensors, kind: str, rate: float) -> None:
        """Hold a copy of ``theta``, the meta parameters."""
        self.theta = {n: t.detach().clone() for n, t in theta.items()}
        optimizer = {"adam": torch.optim.Adam, "average": torch.optim.SGD}[kind]
        self.optimizer = optimizer(self.theta.values(), lr=rate)

    def step(self, direction: Tensors) -> None:
        """One outer step against ``direction``."""
        for name, tensor in self.theta.items():
            tensor.grad = direction[name]
        self.optimizer.step()


class Learner:
    """Meta model, inner model and their optimisers: what the ``pretrain`` stage steps and keeps."""

    def __init__(self, theta: Tensors, variant: Variant) -> None:
        """Start from ``theta``."""
        self.variant, self.visits = variant, list[Visit]()
        self.outer = Outer(theta, variant.outer, variant.outer_rate)
        self.inner = Inner(self.outer.theta, variant.inner, variant.inner_rate)

    @property
    def prompts(self) -> Tensors:
        """What has been learned so far."""
        return self.outer.theta

    @property
    def models(self) -> Models:
        """Tensors and optimiser of each model, by name."""
        return {
            "outer": (self.outer.theta, self.outer.optimizer),
            "inner": (self.inner.prompts, self.inner.optimizer),
        }

    def visit(
        self, task: "Task", settings: Pretrain, view: View, loss: Loss, rng: np.random.Generator
    ) -> tuple[list[float], list[float]]:
        """One visit to a task; returns the losses on its support and on its query batches."""
        batches = self.batches(task, settings, view, rng)
        if self.variant.reset == "task":
            self.inner = Inner(self.outer.theta, self.variant.inner, self.variant.inner_rate)
        done = visit(self.outer.theta, self.inner, batches, loss, self.variant)
        self.visits.append(done)
        return done.support_losses, done.query_losses

    @staticmethod
    def batches(task: "Task", s: Pretrain, view: View, rng: np.random.Generator) -> list[tuple[Batch, Batch]]:
        """A visit's (support, query) batches."""
        drawn = draw(task, s.support, s.split_by, s.label_scale, s.support_batch, s.query_batch, rng)
        return [(view(*support, rng), view(*query, None)) for support, query in drawn]

    def visit_together(
        self, batches: Sequence[list[tuple[Batch, Batch]]], loss: LossUnder, drops: Sequence[Drop | None], blocks: int
    ) -> list[tuple[list[float], list[float]]]:
        """Visits to several tasks, those with equal shapes as one; losses of each as from ``visit``."""
        found: dict[int, Visit] = {}
        shapes = [tuple(tuple(t.shape) for step in task for side in step for t in side) for task in batches]
        for shape in dict.fromkeys(shapes):
            equal = [i for i, other in enumerate(shapes) if other == shape]
            of_equal = [batches[i] for i in equal], loss, [drops[i] for i in equal]
            found |= dict(zip(equal, visit_together(self.outer.theta, *of_equal, blocks, self.variant), strict=True))
        visits = [found[i] for i in range(len(batches))]
        self.visits += visits
        return [(v.support_losses, v.query_losses) for v in visits]

    def close(self) -> None:
        """The outer step, after all tasks of one database."""
        self.outer.step(mean_direction(self.visits))
        self.visits = []


# ---------------------------------------------------------------------------------------------------------------- tasks


@dataclass(frozen=True)
class Task:
    """The pictures of one distortion type in one database."""

    database: str
    distortion: str
    rows: np.ndarray  # positions in the prepared array
    targets: np.ndarray  # quality in [0, 1] on the database's one scale
    groups: np.ndarray  # source picture of each row, as integers


def tasks_of(name: str, index: pd.DataFrame) -> list[Task]:
    """One task per distortion type, in sorted order.

    Raises
    ------
    UserError
        If the database has no distortion labels, or a type has no pictures, or those of one source only.
    """
    labelled = index[index["distortion"].notna()]
    kinds = sorted(labelled["distortion"].astype(str).unique())
    if not kinds:
        raise UserError(f"{name} has no distortion labels, so it cannot pre-train; choose e.g. tid2013 or kadid10k")
    known = databases.known().get(name)
    for kind in known.distortions if known else ():
        if kind not in kinds:
            raise UserError(f"{name}: distortion '{kind}' has no pictures; fetch them, then: dvc repro prepare@{name}")
    tasks = []
    for kind in kinds:
        part = labelled[labelled["distortion"].astype(str) == kind]
        groups = source_ids(part)
        if len(np.unique(groups)) < 2:
            raise UserError(f"{name}: distortion '{kind}' has pictures of one source only; support and query need two")
        tasks.append(Task(name, kind, part.index.to_numpy(), part["quality"].to_numpy(np.float32), groups))
    return tasks


def draw(
    task: Task, share: float, by: str, scale: str, support_batch: int, query_batch: int, rng: np.random.Generator
) -> list[tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]]:
    """A visit's batches: a fresh support/query split, as (rows, targets) pairs; query batches come round again.

    ``by`` is "image" or "reference" (departure 6), ``scale`` "set" (support and query each min-max to [0, 1]) or "database"
    (departure 5).
    """
    units = task.groups if by == "reference" else np.arange(len(task.rows))
    order = rng.permutation(np.unique(units))
    chosen = np.isin(units, order[: max(1, min(len(order) - 1, round(share * len(order))))])
    sides = []
    for members, size in ((np.flatnonzero(chosen), support_batch), (np.flatnonzero(~chosen), query_batch)):
        members = rng.permutation(members)
        targets = task.targets[members]
        if scale == "set":
            span = targets.max() - targets.min()
            targets = (targets - targets.min()) / span if span > 0 else np.full_like(targets, 0.5)
        starts = range(0, len(members), size)
        sides.append([(task.rows[members[i : i + size]], targets[i : i + size]) for i in starts])
    support, query = sides
    return [(s, query[i % len(query)]) for i, s in enumerate(support)]
