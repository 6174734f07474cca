"""Several splits as one: tensors with a leading dimension of splits (S, ...), and functions of one split mapped over it."""

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from grmp.clip.model import Tensors


def stack(of_splits: Sequence[Tensors]) -> Tensors:
    """The same named tensors of each split, one behind the other; fresh memory."""
    return {n: torch.stack([p[n].detach() for p in of_splits]) for n in of_splits[0]}


def keep(stacked: Tensors, which: list[int]) -> Tensors:
    """Only these splits, in this order."""
    return {n: t.detach()[which] for n, t in stacked.items()}


def over_splits(function: Callable[..., Any], *stacked: Any) -> Any:
    """``function`` of one split's tensors (dictionaries of them, too) on all splits; results get the leading dimension.

    One split alone runs as it is, without vmap, so that nothing but its own numbers fixes its last bits.
    """
    first = next(iter(_leaves(stacked[0])))
    if len(first) == 1:
        return _each(function(*_each(stacked, lambda t: t.squeeze(0))), lambda t: t.unsqueeze(0))
    # the CPU's fused attention has no batching rule; the GPU's have
    with sdpa_kernel(SDPBackend.MATH) if first.device.type == "cpu" else nullcontext():
        return torch.func.vmap(function)(*stacked)


def _leaves(tree: Any) -> list[Tensor]:
    """Every tensor in nested dictionaries and tuples."""
    if isinstance(tree, Tensor):
        return [tree]
    return [leaf for part in (tree.values() if isinstance(tree, dict) else tree) for leaf in _leaves(part)]


def _each(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """``change`` on every tensor in nested dictionaries and tuples."""
    if isinstance(tree, dict):
        return {n: _each(t, change) for n, t in tree.items()}
    return change(tree) if isinstance(tree, Tensor) else tuple(_each(t, change) for t in tree)
