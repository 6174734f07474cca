"""Frozen features are computed once per crop and kept within a budget of bytes."""

import hashlib
import time
import weakref
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from grmp.clip.model import Backbone, Tensors
from grmp.data.crops import Crop
from grmp.device import cpus, free_bytes
from grmp.params import Adapt

Compute = Callable[[Sequence[Crop]], Tensor]


@dataclass
class Budget:
    """Bytes that caches may still take; several caches share one."""

    left: float

    def take(self, size: int) -> bool:
        """Whether there is room for ``size`` bytes; they are taken then."""
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits


def budget(cache_gb: float | str, device: torch.device) -> Budget:
    """``adapt.cache_gb`` in GiB; "auto" is half of the memory that is free on the device, 0 disables the cache."""
    return Budget(free_bytes(device) / 2 if isinstance(cache_gb, str) else cache_gb * 2**30)


class FeatureCache:
    """A tensor of each crop, kept until the budget is spent; after that it is computed at every request.

    No eviction: within a fine-tuning crops are visited cyclically, so an evicted entry would be the next one requested.
    """

    def __init__(self, compute: Compute, room: "Budget | FeatureStore", singly: bool = False) -> None:
        """``compute`` maps crops to a tensor whose first dimension is the crop's; ``singly``: one crop at a time."""
        self.compute, self.room, self.singly = compute, room, singly
        self.kept: dict[Crop, Tensor] = {}
        self.nbytes, self.seconds, self.computed = 0, 0.0, 0  # of what is kept; what it took to compute how many crops
        self.borrowed: set[Crop] = set()  # kept by earlier runs, and not used by this one yet
        self.borrowed_seconds = 0.0  # what those took that this run has used

    def get(self, crops: Sequence[Crop]) -> Tensor:
        """The tensors of these crops, stacked; those not in the cache are computed."""
        if used := self.borrowed.intersection(crops):
            self.borrowed -= used
            self.borrowed_seconds += len(used) * self.seconds / self.computed
        missing, start = [c for c in dict.fromkeys(crops) if c not in self.kept], time.perf_counter()
        parts = [[c] for c in missing] if self.singly else [missing] if missing else []
        fresh = {c: row for part in parts for c, row in zip(part, self.compute(part), strict=True)}
        self.seconds, self.computed = self.seconds + time.perf_counter() - start, self.computed + len(missing)
        found = torch.stack([fresh[c] if c in fresh else self.kept[c] for c in crops])
        for crop, row in fresh.items():
            if self.room.take(row.nbytes):
                self.kept[crop] = row.clone()  # a row of a batch would keep the whole batch alive
                self.nbytes += row.nbytes
        return found


@dataclass
class FeatureStore:
    """The caches of one backbone, by everything else that their features depend on.

    On a CPU features are computed one crop at a time: the last bits of a matrix product depend on the number of its rows, and
    the features of an image must not depend on what was computed before.

    Where the budget is spent, whole caches that the present fine-tuning does not use are dropped, those not used for longest
    first.
    """

    backbone: Backbone
    budget: Budget
    caches: dict[Hashable, FeatureCache] = field(default_factory=dict)  # the last one used is the last
    in_use: set[Hashable] = field(default_factory=set)  # by the present fine-tuning
    dropped_seconds: float = 0.0  # ``borrowed_seconds`` of caches that were dropped

    def cache(self, key: Hashable, make: Callable[[], Compute]) -> FeatureCache:
        """The cache under ``key``; ``make`` is called for its function if the key is new.

        That function has to hold every object whose ``id`` is in the key: no other object gets this id then.
        """
        found = self.caches.pop(key, None)
        if found is None:  # a proxy, so that a store which nobody refers to any more is freed at once
            found = FeatureCache(make(), weakref.proxy(self), self.backbone.device.type == "cpu")
        self.caches[key] = found
        self.in_use.add(key)
        return found

    def release(self) -> None:
        """Whatever is kept may be dropped from now on: the next fine-tuning begins."""
        self.in_use.clear()

    def take(self, size: int) -> bool:
        """As `Budget.take`, after dropping what may be dropped."""
        while not (fits := self.budget.take(size)) and (unused := [k for k in self.caches if k not in self.in_use]):
            dropped = self.caches.pop(unused[0])
            self.budget.left += dropped.nbytes
            self.dropped_seconds += dropped.borrowed_seconds
        return fits

    def begin_run(self) -> None:
        """What is kept now was computed by earlier runs of this process."""
        self.dropped_seconds = 0.0
        for cache in self.caches.values():
            cache.borrowed, cache.borrowed_seconds = set(cache.kept), 0.0

    @property
    def borrowed_seconds(self) -> float:
        """What earlier runs took to compute what this run has used: a run's time must not depend on what ran before it."""
        return self.dropped_seconds + sum(cache.borrowed_seconds for cache in self.caches.values())

    @property
    def unused_bytes(self) -> int:
        """Bytes of earlier runs that this run has not used."""
        shares = (len(c.borrowed) * c.nbytes / len(c.kept) for c in self.caches.values() if c.borrowed)
        return round(sum(shares))


def store_for(backbone: Backbone, settings: Adapt, processes: int = 1) -> FeatureStore | None:
    """A store for several fine-tunings that follow one another, or None where they share nothing.

    On a GPU splits are trained side by side and share features anyway. Without a stem every split has random crops of its own,
    which would only fill the budget; of features of a stem there is one crop. ``processes`` share the memory.
    """
    if backbone.device.type != "cpu" or not backbone.shape.stem:
        return None
    return FeatureStore(backbone, Budget(budget(settings.cache_gb, backbone.device).left / processes))


_of_process: dict[Hashable, FeatureStore | None] = {}  # at most one


def of_process(backbone: Backbone, settings: Adapt) -> FeatureStore | None:
    """The store that all runs of a process with this backbone share: see ``store_for``."""
    # pixel statistics differ between protocols, but features of a stem are not normalised
    key = (
        backbone.sha256,
        replace(backbone.shape, normalize=""),
        str(backbone.device),
        settings.cache_gb,
        settings.threads,
    )
    if key not in _of_process:
        _of_process.clear()  # first: the memory it has is free then
        per_core = max(1, cpus() // settings.threads) if settings.cache_gb == "auto" else 1  # a sweep starts so many
        _of_process[key] = store_for(backbone, settings, per_core)
    return _of_process[key]


def digest(tensors: Tensors) -> str:
    """SHA-256 of names, shapes and values."""
    found = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().flatten().numpy().data)
    return found.hexdigest()
