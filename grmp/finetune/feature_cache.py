"""Frozen features are computed once per crop and kept within a budget of bytes."""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from grmp.clip.model import Tensors
from grmp.data.crops import Crop
from grmp.device import free_bytes

Compute = Callable[[Sequence[Crop]], Tensor]


@dataclass
class Budget:
    """Bytes that caches may still take; several caches share one."""

    left: float


def budget(cache_gb: float | str, device: torch.device) -> Budget:
    """``adapt.cache_gb`` in GiB; "auto" is half of the memory that is free on the device, 0 disables the cache."""
    return Budget(free_bytes(device) / 2 if isinstance(cache_gb, str) else cache_gb * 2**30)


class FeatureCache:
    """A tensor of each crop, kept until the budget is spent; after that it is computed at every request.

    No eviction: crops are visited cyclically, so an evicted entry would be the next one requested.
    """

    def __init__(self, compute: Compute, budget: Budget, singly: bool = False) -> None:
        """``compute`` maps crops to a tensor whose first dimension is the crop's; ``singly``: one crop at a time."""
        self.compute, self.budget, self.singly = compute, budget, singly
        self.kept: dict[Crop, Tensor] = {}

    def get(self, crops: Sequence[Crop]) -> Tensor:
        """The tensors of these crops, stacked; those not in the cache are computed."""
        missing = [c for c in dict.fromkeys(crops) if c not in self.kept]
        parts = [[c] for c in missing] if self.singly else [missing] if missing else []
        fresh = {c: row for part in parts for c, row in zip(part, self.compute(part), strict=True)}
        found = torch.stack([fresh[c] if c in fresh else self.kept[c] for c in crops])
        for crop, row in fresh.items():
            if row.nbytes <= self.budget.left:
                self.kept[crop] = row.clone()  # a row of a batch would keep the whole batch alive
                self.budget.left -= row.nbytes
        return found


@dataclass
class FeatureStore:
    """The caches of fine-tunings that start from one backbone, by what else their features depend on.

    On a CPU features are computed one crop at a time: the last bits of a matrix product depend on the number of its rows, and
    the features of an image must not depend on what was computed before.
    """

    budget: Budget
    device: torch.device
    caches: dict[Hashable, FeatureCache] = field(default_factory=dict)

    def cache(self, key: Hashable, compute: Compute) -> FeatureCache:
        """The cache under ``key``; its features are those that the first ``compute`` under that key returns."""
        return self.caches.setdefault(key, FeatureCache(compute, self.budget, self.device.type == "cpu"))


def digest(tensors: Tensors) -> str:
    """What tells tensors of one content from others."""
    parts = [f"{name} {tuple(t.shape)}".encode() + t.cpu().numpy().tobytes() for name, t in sorted(tensors.items())]
    return hashlib.sha256(b"".join(parts)).hexdigest()
