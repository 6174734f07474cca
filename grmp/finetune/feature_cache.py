"""Frozen features are computed once per crop and kept within a budget of bytes."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from grmp.data.crops import Crop
from grmp.device import free_bytes


@dataclass
class Budget:
    """Bytes that caches may still take; several caches share one."""

    left: float


def budget(cache_gb: float | str, device: torch.device) -> Budget:
    """``adapt.cache_gb`` in GiB; "auto" is half of the memory that is free on the device, 0 disables the cache."""
    return Budget(free_bytes(device) / 2 if isinstance(cache_gb, str) else cache_gb * 2**30)


class FeatureCache:
    """Tensors of crops, kept until the budget is spent; after that they are computed at every request.

    No eviction: crops are visited cyclically, so an evicted entry would be the next one requested.
    """

    def __init__(self, compute: Callable[[Sequence[Crop]], Sequence[Tensor]], budget: Budget) -> None:
        """``compute`` maps crops to tensors whose first dimension is the crop's."""
        self.compute, self.budget = compute, budget
        self.kept: dict[Crop, tuple[Tensor, ...]] = {}

    def get(self, crops: Sequence[Crop]) -> list[Tensor]:
        """The tensors of these crops, stacked; those not in the cache are computed in one batch."""
        missing = [c for c in dict.fromkeys(crops) if c not in self.kept]
        fresh = dict(zip(missing, zip(*self.compute(missing), strict=True), strict=True)) if missing else {}
        found = [fresh[c] if c in fresh else self.kept[c] for c in crops]
        for crop, tensors in fresh.items():
            size = sum(t.nbytes for t in tensors)
            if size <= self.budget.left:
                # a copy: a row of the batch would keep the whole batch alive
                self.kept[crop] = tuple(t.clone() for t in tensors)
                self.budget.left -= size
        return [torch.stack(column) for column in zip(*found, strict=True)]
