"""Several splits: stacked tensors (S, ...), and functions of one split mapped over them, as one batch or in a loop."""

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._pytree import tree_flatten, tree_leaves, tree_map, tree_unflatten

from grmp.clip.model import Tensors


def stack_params(splits: Sequence[Tensors]) -> Tensors:
    """Stack the tensors of the same name: (...) of each split -> (S, ...), in fresh memory."""
    return {n: torch.stack([p[n].detach() for p in splits]) for n in splits[0]}


def vmap_splits(function: Callable[..., Any], *stacked: Any) -> Any:
    """Map ``function`` over the leading dimension S of tensors in nested dictionaries and tuples; so are its results.

    For many small operations: one kernel does all splits. A single split runs without vmap, so that its last bits depend on
    its own numbers alone.
    """
    first = tree_leaves(stacked)[0]
    if len(first) == 1:
        return tree_map(lambda t: t.unsqueeze(0), function(*tree_map(lambda t: t.squeeze(0), stacked)))
    # the CPU's fused attention has no batching rule, and the GPU's gives its backward tensors that it refuses
    with sdpa_kernel(SDPBackend.MATH):
        return torch.func.vmap(function)(*stacked)


def each_split(function: Callable[..., Any], *stacked: Any) -> Any:
    """``vmap_splits`` by a loop, for operations that fill the device with one split.

    Each split then runs the kernels that it runs alone: fused attention, biases added by the matrix product, and the types
    of autocast, which promotes to float32 what vmap takes apart.
    """
    leaves, structure = tree_flatten(stacked)
    splits = zip(*(t.unbind(0) for t in leaves), strict=True)
    found = [function(*tree_unflatten(list(of_split), structure)) for of_split in splits]
    return tree_map(lambda *of_splits: torch.stack(of_splits), *found)
