"""Frozen features are computed once per crop and kept within a budget of bytes."""

import hashlib
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from grmp.clip.model import Backbone, Tensors
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

    No eviction: within a fine-tuning crops are visited cyclically, so an evicted entry would be the next one requested.
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
    """The caches of fine-tunings of one backbone, by everything else that their features depend on.

    On a CPU features are computed one crop at a time: the last bits of a matrix product depend on the number of its rows, and
    the features of an image must not depend on what was computed before.
    """

    backbone: Backbone
    budget: Budget
    caches: dict[Hashable, FeatureCache] = field(default_factory=dict)

    def cache(self, key: Hashable, make: Callable[[], Compute]) -> FeatureCache:
        """The cache under ``key``; ``make`` is called for its function if the key is new.

        That function has to hold every object whose ``id`` is in the key: no other object gets this id then.
        """
        if key not in self.caches:
            self.caches[key] = FeatureCache(make(), self.budget, self.backbone.device.type == "cpu")
        return self.caches[key]


def digest(tensors: Tensors) -> str:
    """SHA-256 of names, shapes and values."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().flatten().numpy().data)
    return found.hexdigest()
