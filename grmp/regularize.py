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

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

Gradients = Mapping[str, Tensor]


def _published(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    dot = torch.sum(g_d * g_g)
    return g_d if dot <= 0 else g_d - strength * dot / torch.sum(g_g * g_g) * g_g


def _prograd(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    dot = torch.sum(g_d * g_g)
    return g_d if dot >= 0 else g_d - strength * dot / torch.sum(g_g * g_g) * g_g


def _pcgrad(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    return _prograd(g_d, g_g, 1.0) + strength * _prograd(g_g, g_d, 1.0)


def _cosine_gate(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    dot = torch.sum(g_d * g_g)
    return g_d if dot <= 0 else g_d + strength * dot / (g_d.norm() * g_g.norm()) * g_g


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
    out = {}
    for name, g_d in task.items():
        g_g = semantic.get(name)
        out[name] = g_d if g_g is None or not torch.any(g_g) else combine(g_d, g_g, strength)
    return out


def angle(task: Gradients, semantic: Gradients) -> float:
    """Angle in degrees between the two gradients, all tensors taken together; nan where one of them is zero."""
    names = [n for n in task if n in semantic]
    dot = sum(float(torch.sum(task[n].double() * semantic[n].double())) for n in names)
    norms = [math.sqrt(sum(float(g.double().square().sum()) for g in side.values())) for side in (task, semantic)]
    if not all(norms):
        return math.nan
    return math.degrees(math.acos(max(-1.0, min(1.0, dot / (norms[0] * norms[1])))))
