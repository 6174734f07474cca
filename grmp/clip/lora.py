"""LoRA (Hu et al., ICLR 2022, section 4.1): a weight W is used as W + B A, and only the low-rank B and A are trained.

A (r, in) is initialised Kaiming-uniform and B (out, r) with zeros, so training starts from W itself. The paper's factor
alpha / r is 1, as it advises to set alpha to the first r that is tried. The `peft` library wraps nn.Modules; the towers
here are functions of named tensors.
"""

import math

import torch

from grmp.clip.model import Shape, Tensors

A, B = ".lora_a", ".lora_b"
LINEAR = ("attn.in_proj_weight", "attn.out_proj.weight", "mlp.c_fc.weight", "mlp.c_proj.weight")


def adapted(shape: Shape, blocks: int) -> list[str]:
    """Names of the weights that get an A and a B: those in the last ``blocks`` blocks of both towers."""
    return [block + linear for block in shape.last_blocks(blocks) for linear in LINEAR]


def start(weights: Tensors, names: list[str], rank: int, generator: torch.Generator) -> Tensors:
    """Fresh ``<name>.lora_a`` (r, in) and ``<name>.lora_b`` (out, r) for each named weight (out, in)."""
    out: Tensors = {}
    for name in names:
        w = weights[name]
        a = torch.nn.init.kaiming_uniform_(torch.empty(rank, w.shape[1]), a=math.sqrt(5), generator=generator)
        out |= {name + A: a.to(w), name + B: torch.zeros(len(w), rank).to(w)}
    return out


def effective(p: Tensors) -> Tensors:
    """``p`` with each adapted weight replaced by W + B A, without A and B; the other tensors as they are."""
    names = [n.removesuffix(A) for n in p if n.endswith(A)]
    return {n: t for n, t in p.items() if not n.endswith((A, B))} | {n: p[n] + p[n + B] @ p[n + A] for n in names}
