"""Meta-prompt pre-training: learn initial soft prompts, with one task per distortion type.

A visit to a task draws a fresh support/query split of its images. The inner model takes steps on the support batches; the
use of the query batches and the outer step depend on the variant (params.Variant; docs/departures.md, 1 to 3):

    reset never, query inner, outer average, order 0   the released code: one long joint training of the inner model, of
                                                       which the meta model is a slow average (pretrain.py, train_model)
    reset task,  query inner, outer average, order 0   Reptile: theta <- theta - rate * mean_i (theta - theta_i)
    reset task,  query outer, order 1                  first-order MAML: the mean query gradient at theta_i
    reset task,  query outer, order 2                  MAML: the same, differentiated through the inner (SGD) steps

Only the prompts are trained; the backbone is frozen. Tasks that start from the meta prompts are independent, so several are
visited as one: prompts and batches have a leading dimension T of tasks, and every loss is a tensor (T,).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from grmp.clip.model import Backbone, PromptDropout, Tensors, pixels, task_loss
from grmp.clip.vmap import vmap_splits
from grmp.params import Variant

Batch = tuple[Tensor, Tensor]  # images (T, B, 3, S, S) uint8, targets (T, B)
Loss = Callable[[Tensors, Batch], Tensor]  # of prompts (T, ...) on a batch: (T,)
Losses = list[list[float]]  # by batch, then by task


def quality_loss(backbone: Backbone, tokens: Tensor, dropout: PromptDropout | None = None) -> Loss:
    """Eq. (2) under given prompts; ``tokens`` (2, 77) are the quality texts."""

    def one(prompts: Tensors, images: Tensor, targets: Tensor, *masks: Tensor) -> Tensor:
        clip = backbone.prompted(prompts)
        image = clip.image(pixels(images, backbone.shape), *masks)
        return task_loss(clip.logits(image, clip.quality_text(tokens)), targets)

    def loss(prompts: Tensors, batch: Batch) -> Tensor:
        masks = dropout.masks(batch[0].shape[1]) if dropout else []
        value: Tensor = vmap_splits(one, prompts, *batch, *masks)
        return value

    return loss


class Inner:
    """The model that a task trains: prompts as leaves, and their optimiser."""

    def __init__(self, theta: Tensors, optimizer: str, rate: float) -> None:
        """Start from a copy of ``theta``."""
        self.prompts = {n: t.detach().clone().requires_grad_() for n, t in theta.items()}
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
        self.optimizer = kind(self.prompts.values(), lr=rate)

    def step(self, loss: Loss, batch: Batch) -> list[float]:
        """One gradient step on one batch; returns the loss before it, of each task."""
        self.optimizer.zero_grad(set_to_none=True)
        value = loss(self.prompts, batch)
        value.sum().backward()
        self.optimizer.step()
        return listed(value)


class Outer:
    """theta <- theta - rate * direction ("average", as published), or Adam on that direction (departure 3)."""

    def __init__(self, theta: Tensors, kind: str, rate: float) -> None:
        """Start from a copy of ``theta``, the meta prompts."""
        self.theta = {n: t.detach().clone() for n, t in theta.items()}
        optimizer = {"adam": torch.optim.Adam, "average": torch.optim.SGD}[kind]
        self.optimizer = optimizer(self.theta.values(), lr=rate)

    def step(self, directions: Sequence[Tensors]) -> None:
        """One step against the mean direction of all tasks, which are along the first dimension of ``directions``."""
        for name, tensor in self.theta.items():
            tensor.grad = torch.cat([d[name] for d in directions]).mean(0)
        self.optimizer.step()


@dataclass
class Visit:
    """What a visit returns: the direction for the outer step (theta moves against it), and the losses on the way."""

    direction: Tensors  # (T, ...)
    support_losses: Losses
    query_losses: Losses


def visit(theta: Tensors, inner: Inner, batches: Iterable[tuple[Batch, Batch]], loss: Loss, variant: Variant) -> Visit:
    """Train ``inner`` on (support, query) batches of tasks and compute the direction of the outer step."""
    if variant.order == 2:
        return _visit_second_order(inner.prompts, list(batches), loss, variant.inner_rate)
    support_losses: Losses = []
    query_losses: Losses = []
    queries = []
    for support, query in batches:
        support_losses.append(inner.step(loss, support))
        if variant.query == "inner":
            query_losses.append(inner.step(loss, query))
        else:
            queries.append(query)
    if variant.order == 0:
        with torch.no_grad():  # Reptile without query steps: the query losses are reported only
            query_losses += [listed(loss(inner.prompts, query)) for query in queries]
        return Visit({n: theta[n] - t.detach() for n, t in inner.prompts.items()}, support_losses, query_losses)
    values = [loss(inner.prompts, query) for query in queries]
    direction = torch.autograd.grad(torch.stack(values).mean(0).sum(), list(inner.prompts.values()))
    return Visit(dict(zip(inner.prompts, direction, strict=True)), support_losses, [listed(v) for v in values])


def _visit_second_order(start: Tensors, batches: Sequence[tuple[Batch, Batch]], loss: Loss, rate: float) -> Visit:
    """MAML: the query gradient with respect to the start, through plain SGD steps on the support batches."""
    prompts, support_losses = start, []
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention kernels cannot be differentiated twice
        for support, _ in batches:
            value = loss(prompts, support)
            support_losses.append(listed(value))
            grads = torch.autograd.grad(value.sum(), list(prompts.values()), create_graph=True)
            prompts = {n: t - rate * g for (n, t), g in zip(prompts.items(), grads, strict=True)}
        values = [loss(prompts, query) for _, query in batches]
        direction = torch.autograd.grad(torch.stack(values).mean(0).sum(), list(start.values()))
    return Visit(dict(zip(start, direction, strict=True)), support_losses, [listed(v) for v in values])


def listed(losses: Tensor) -> list[float]:
    """(T,) as numbers."""
    return [float(v) for v in losses.detach().reshape(-1)]
