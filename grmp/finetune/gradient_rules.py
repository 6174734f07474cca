"""Quality-aware gradient regularization and related rules, as pure functions of tensors.

A rule takes the gradient of the task loss G_d, the gradient of the semantic loss G_g and a strength (lambda), tensor by
tensor, and returns the gradient for the optimiser. A tensor without a semantic gradient (absent, or all zero: the text
context never enters the scene texts) gets G_d. To add a rule, write a function here and name it in ``RULES``.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

Gradients = Mapping[str, Tensor]
Rule = Callable[[Tensor, Tensor, float], Tensor]


def _share(g_d: Tensor, g_g: Tensor, sign: int) -> Tensor:
    """<G_d, G_g> / |G_g|^2 if the product has this sign, else 0; without a branch, so that vmap can map it."""
    dot, square = torch.sum(g_d * g_g), torch.sum(g_g * g_g)
    return torch.where(sign * dot > 0, dot / torch.where(square > 0, square, 1), 0)


def none(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    """G_d: the task loss alone."""
    return g_d


def published(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    """The rule of the released code (finetune.py, ProGradLoss.prograd_update).

    G = G_d - lambda <G_d, G_g> / |G_g|^2 G_g where <G_d, G_g> > 0, G_d elsewhere. It acts when the gradients *agree*.
    <G, G_g> = (1 - lambda) <G_d, G_g>: with lambda = 1 the step is orthogonal to the semantic gradient, with the published
    lambda = 5 it actively moves away from the semantic solution.
    """
    return torch.addcmul(g_d, -strength * _share(g_d, g_g, +1), g_g)


def prograd(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    """The rule of ProGrad (Zhu et al., ICCV 2023), the model for ``published``.

    The same projection where the gradients *conflict*, so that the step never undoes the semantic solution.
    """
    return torch.addcmul(g_d, -strength * _share(g_d, g_g, -1), g_g)


def pcgrad(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    """Gradient surgery (Yu et al., NeurIPS 2020): both losses are tasks.

    Where the gradients conflict, each loses its component along the other; the step is their sum, the semantic part times
    the strength.
    """
    return prograd(g_d, g_g, 1.0) + strength * prograd(g_g, g_d, 1.0)


def cosine_gate(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    """Adds the semantic gradient only where it agrees, times the strength and the cosine (after Du et al., 2018)."""
    # the cosine is the share along G_g times the ratio of the lengths
    length = g_d.norm()
    cosine = _share(g_d, g_g, +1) * g_g.norm() / torch.where(length > 0, length, 1)
    return g_d + strength * cosine * g_g


RULES: dict[str, Rule] = {rule.__name__: rule for rule in (none, published, prograd, pcgrad, cosine_gate)}


def regularize(rule: str, task: Gradients, semantic: Gradients, strength: float) -> dict[str, Tensor]:
    """The gradients for the optimiser, by name: ``rule`` applied tensor by tensor."""
    return {n: RULES[rule](g_d, semantic[n], strength) if n in semantic else g_d for n, g_d in task.items()}


def angle(task: Gradients, semantic: Gradients) -> Tensor:
    """Angle in degrees between the two gradients, all tensors taken together; NaN if one of them is zero."""

    def total(values: Iterable[Tensor]) -> Tensor:
        return sum(values, torch.zeros((), dtype=torch.float64))

    def square(gradients: Gradients) -> Tensor:
        return total(torch.linalg.vector_norm(g, dtype=torch.float64) ** 2 for g in gradients.values())

    # in float64: sums of float32 are off by 1e-3 degrees at ViT-B/16
    dot = total(torch.sum(task[n] * semantic[n], dtype=torch.float64) for n in task if n in semantic)
    return torch.rad2deg(torch.acos((dot / (square(task) * square(semantic)).sqrt()).clamp(-1, 1)))
