"""Several splits (or tasks) as one batch: stacked tensors (S, ...), and functions of one split mapped over them."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_leaves, tree_map

from grmp.clip.model import Tensors


def stack_params(splits: Sequence[Tensors]) -> Tensors:
    """Stack the tensors of the same name: (...) of each split -> (S, ...), in fresh memory."""
    return {n: torch.stack([p[n].detach() for p in splits]) for n in splits[0]}


def take_params(stacked: Tensors, which: list[int]) -> Tensors:
    """The tensors of these splits only, in this order."""
    return {n: t.detach()[which] for n, t in stacked.items()}


def vmap_splits(function: Callable[..., Any], *stacked: Any) -> Any:
    """Map ``function`` over the leading dimension S of tensors in nested dictionaries and tuples; so are its results.

    A single split runs without vmap, so that its last bits depend on its own numbers alone.
    """
    first = tree_leaves(stacked)[0]
    if len(first) == 1:
        return tree_map(lambda t: t.unsqueeze(0), function(*tree_map(lambda t: t.squeeze(0), stacked)))
    # the CPU's fused attention has no batching rule; the GPU's have
    with sdpa_kernel(SDPBackend.MATH) if first.device.type == "cpu" else nullcontext():
        return torch.func.vmap(function)(*stacked)
