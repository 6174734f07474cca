"""Meta-prompt pre-training: learn initial soft prompts, with one task per distortion type.

A visit to a task draws a fresh support/query split of its images. The inner model takes steps on the support batches; the
use of the query batches and the outer step depend on the variant (params.Variant; docs/departures.md, 1 to 3):

    reset never, query inner, outer average, order 0   the released code: one long joint training of the inner model, of
                                                       which the meta model is a slow average (pretrain.py, train_model)
    reset task,  query inner, outer average, order 0   Reptile: theta <- theta - rate * mean_i (theta - theta_i)
    reset task,  query outer, order 1                  first-order MAML: the gradient of the mean query loss at theta_i
    reset task,  query outer, order 2                  MAML: the same, differentiated through the inner (SGD) steps

Only the prompts are trained; the backbone is frozen.
"""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from grmp.clip.model import Backbone, PromptDropout, Tensors, pixels, task_loss
from grmp.params import Variant

Batch = tuple[Tensor, Tensor]  # images (B, 3, S, S) uint8, targets (B,)
Loss = Callable[[Tensors, Batch], Tensor]  # of prompts on a batch: a scalar
Losses = tuple[list[float], list[float]]  # of a visit, on its support and query batches


def quality_loss(backbone: Backbone, tokens: Tensor, dropout: PromptDropout | None = None) -> Loss:
    """Eq. (2) under given prompts; ``tokens`` (2, 77) are the quality texts."""

    def loss(prompts: Tensors, batch: Batch) -> Tensor:
        masks = [m.squeeze(0) for m in dropout.masks(len(batch[0]))] if dropout else []
        # views: a tensor's gradients are summed within a pass first, then over passes (rounding depends on the order)
        clip = backbone.prompted({n: t.view_as(t) for n, t in prompts.items()})
        image = clip.image(pixels(batch[0], backbone.shape), *masks)
        return task_loss(clip.logits(image, clip.quality_text(tokens)), batch[1])

    return loss


class Inner:
    """The model that a task trains: prompts as leaves, and their optimiser."""

    def __init__(self, theta: Tensors, optimizer: str, rate: float) -> None:
        """Start from a copy of ``theta``."""
        self.prompts = {n: t.detach().clone().requires_grad_() for n, t in theta.items()}
        kind = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[optimizer]
        self.optimizer = kind(self.prompts.values(), lr=rate)

    def step(self, loss: Loss, batch: Batch) -> float:
        """One gradient step on one batch; returns the loss before it."""
        self.optimizer.zero_grad(set_to_none=True)
        value = loss(self.prompts, batch)
        value.backward()
        self.optimizer.step()
        return float(value.detach())


class Outer:
    """theta <- theta - rate * direction ("average", as published), or Adam on that direction (departure 3)."""

    def __init__(self, theta: Tensors, kind: str, rate: float) -> None:
        """Start from a copy of ``theta``, the meta prompts."""
        self.theta = {n: t.detach().clone() for n, t in theta.items()}
        optimizer = {"adam": torch.optim.Adam, "average": torch.optim.SGD}[kind]
        self.optimizer = optimizer(self.theta.values(), lr=rate)

    def step(self, directions: Sequence[Tensors]) -> None:
        """One step against the mean direction of the tasks."""
        for name, tensor in self.theta.items():
            tensor.grad = torch.stack([d[name] for d in directions]).mean(0)
        self.optimizer.step()


def visit(
    theta: Tensors, inner: Inner, supports: Sequence[Batch], queries: Sequence[Batch], loss: Loss, variant: Variant
) -> tuple[Tensors, Losses]:
    """Train ``inner`` on the support batches of a task.

    With ``query: inner`` a step on a query batch follows each of them; the query batches are used cyclically, as released
    (pretrain.py, train_model). Returns the direction for the outer step (theta moves against it), and the losses on the way.
    """
    if variant.order == 2:
        return _visit_second_order(inner.prompts, supports, queries, loss, variant.inner_rate)
    support_losses, query_losses = list[float](), list[float]()
    for i, support in enumerate(supports):
        support_losses.append(inner.step(loss, support))
        if variant.query == "inner":
            query_losses.append(inner.step(loss, queries[i % len(queries)]))
    if variant.order == 1:
        direction, query_losses = _query_gradient(inner.prompts, inner.prompts, queries, loss)
        return direction, (support_losses, query_losses)
    if variant.query == "outer":
        with torch.no_grad():  # they are reported only
            query_losses = [float(loss(inner.prompts, query)) for query in queries]
    return {n: theta[n] - t.detach() for n, t in inner.prompts.items()}, (support_losses, query_losses)


def _visit_second_order(
    start: Tensors, supports: Sequence[Batch], queries: Sequence[Batch], loss: Loss, rate: float
) -> tuple[Tensors, Losses]:
    """MAML: the query gradient with respect to the start, through plain SGD steps on the support batches."""
    prompts, support_losses = start, []
    with sdpa_kernel(SDPBackend.MATH):  # the fused attention kernels cannot be differentiated twice
        for support in supports:
            value = loss(prompts, support)
            support_losses.append(float(value.detach()))
            grads = torch.autograd.grad(value, list(prompts.values()), create_graph=True)
            prompts = {n: t - rate * g for (n, t), g in zip(prompts.items(), grads, strict=True)}
        direction, query_losses = _query_gradient(start, prompts, queries, loss)
    return direction, (support_losses, query_losses)


def _query_gradient(
    start: Tensors, prompts: Tensors, queries: Sequence[Batch], loss: Loss
) -> tuple[Tensors, list[float]]:
    """Gradient with respect to ``start`` of the mean loss of ``prompts`` over all query images, and the loss of each batch.

    One batch at a time, so that memory does not grow with their number.
    """
    total, parts, losses = sum(len(targets) for _, targets in queries), list[Sequence[Tensor]](), list[float]()
    for number, query in enumerate(queries, 1):
        value = loss(prompts, query)
        losses.append(float(value.detach()))
        # the steps from start to prompts are passed through again
        again = prompts is not start and number < len(queries)
        part = torch.autograd.grad(value * (len(query[1]) / total), list(start.values()), retain_graph=again)
        parts = [part] if not parts else [[a + b for a, b in zip(parts[0], part, strict=True)]]
    return dict(zip(start, parts[0], strict=True)), losses
