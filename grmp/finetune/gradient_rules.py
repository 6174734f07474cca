"""Quality-aware gradient regularization and its relatives, as pure functions over dictionaries of named tensors.

Every rule takes the gradient of the task loss G_d, the gradient of the semantic loss G_g and a strength (lambda), tensor by
tensor, and returns the gradient to step with. A tensor that has no semantic gradient (absent, or all zero: the text context
never enters the scene texts) is stepped with G_d.

published   the rule of the released code (finetune.py, ProGradLoss.prograd_update):
                G = G_d - lambda <G_d, G_g> / |G_g|^2 G_g   where <G_d, G_g> > 0,   G_d elsewhere.
            It acts when the gradients *agree*. <G, G_g> = (1 - lambda) <G_d, G_g>: with lambda = 1 the step is orthogonal to
            the semantic gradient, with the published lambda = 5 it actively moves away from the semantic solution.
prograd     the rule of ProGrad (Zhu et al., ICCV 2023), from which the former takes its form: the same projection where the
            gradients *conflict*, so that the step never undoes the semantic solution.
pcgrad      gradient surgery (Yu et al., NeurIPS 2020): both are tasks; each loses its component along the other where they
            conflict; the step is their sum, the semantic part times the strength.
cosine_gate the auxiliary gradient is added, times the strength and the cosine, only where it agrees (after Du et al., 2018).
none        G_d.
"""

from collections.abc import Callable, Iterable, Mapping

import torch
from torch import Tensor

Gradients = Mapping[str, Tensor]


def _along(g_d: Tensor, g_g: Tensor, sign: int) -> Tensor:
    """<G_d, G_g> / |G_g|^2 where the product has this sign, else 0; without a branch, so that vmap can do it."""
    dot, square = torch.sum(g_d * g_g), torch.sum(g_g * g_g)
    return torch.where(sign * dot > 0, dot / torch.where(square > 0, square, 1), 0)


def _published(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    return g_d - strength * _along(g_d, g_g, +1) * g_g


def _prograd(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    return g_d - strength * _along(g_d, g_g, -1) * g_g


def _pcgrad(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    return _prograd(g_d, g_g, 1.0) + strength * _prograd(g_g, g_d, 1.0)


def _cosine_gate(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    # the cosine is the share along G_g times the ratio of the lengths
    length = g_d.norm()
    cosine = _along(g_d, g_g, +1) * g_g.norm() / torch.where(length > 0, length, 1)
    return g_d + strength * cosine * g_g


RULES: dict[str, Callable[[Tensor, Tensor, float], Tensor]] = {
    "none": lambda g_d, g_g, strength: g_d,
    "published": _published,
    "prograd": _prograd,
    "pcgrad": _pcgrad,
    "cosine_gate": _cosine_gate,
}


def regularize(rule: str, task: Gradients, semantic: Gradients, strength: float) -> dict[str, Tensor]:
    """The gradients to step with, by name: ``rule`` applied tensor by tensor. See the head of this file."""
    combine = RULES[rule]
    return {n: combine(g_d, semantic[n], strength) if n in semantic else g_d for n, g_d in task.items()}


def angle(task: Gradients, semantic: Gradients) -> Tensor:
    """Angle in degrees between the two gradients, all tensors taken together; nan where one of them is zero."""

    def total(pairs: Iterable[tuple[Tensor, Tensor]]) -> Tensor:
        return sum((torch.sum(a * b, dtype=torch.float64) for a, b in pairs), torch.zeros((), dtype=torch.float64))

    dot = total((task[n], semantic[n]) for n in task if n in semantic)
    lengths = total((g, g) for g in task.values()) * total((g, g) for g in semantic.values())
    return torch.rad2deg(torch.acos((dot / lengths.sqrt()).clamp(-1, 1)))
