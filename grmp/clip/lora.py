"""LoRA (Hu et al., ICLR 2022, section 4.1): a weight W is used as W + B A, and only the low-rank B and A are trained.

A (r, in) starts Kaiming-uniform, B (out, r) at zero, so that training starts from W itself. The paper's factor alpha / r is
1, its advice once alpha is set to the first r that is tried. The `peft` library was considered: it wraps nn.Modules, while
the towers here are functions of named tensors.
"""

import math

import torch
from torch import Tensor

from grmp.clip.model import Shape, Tensors

A, B = ".lora_a", ".lora_b"
LINEAR = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def adapted(shape: Shape, blocks: int) -> list[str]:
    """Names of the weights in the last ``blocks`` blocks of both towers that get an A and a B."""
    towers = (("visual.", shape.vision_layers), ("", shape.text_layers))
    return [
        f"{tower}transformer.resblocks.{i}.{linear}"
        for tower, layers in towers
        for i in range(max(0, layers - blocks), layers)
        for linear in LINEAR
    ]


def start(weights: Tensors, names: list[str], rank: int, generator: torch.Generator) -> Tensors:
    """Fresh ``<name>.lora_a`` (r, in) and ``<name>.lora_b`` (out, r) for each named weight (out, in)."""
    out: Tensors = {}
    for name in names:
        w = weights[name]
        a = torch.nn.init.kaiming_uniform_(torch.empty(rank, w.shape[1]), a=math.sqrt(5), generator=generator)
        out |= {name + A: a.to(w), name + B: torch.zeros(len(w), rank).to(w)}
    return out


def effective(p: Tensors) -> Tensors:
    """``p`` with each adapted weight as W + B A; the same dictionary where nothing is adapted."""

    def sum_of(name: str, low: Tensor) -> Tensor:
        return p[name] + p[name + B] @ low

    return p | {n.removesuffix(A): sum_of(n.removesuffix(A), t) for n, t in p.items() if n.endswith(A)}
