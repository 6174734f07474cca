"""Frozen features are computed once per crop and kept within a budget of bytes."""

import time
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor

from grmp.clip.model import Backbone
from grmp.data.crops import Crop
from grmp.device import cpus, free_bytes
from grmp.params import Adapt

Compute = Callable[[Sequence[Crop]], Tensor]  # the first dimension of the tensor is the crop's


def budget(settings: Adapt, device: torch.device) -> float:
    """Bytes of ``adapt.cache_gb``, which is in GiB; "auto" is half of what is free on the device.

    On a CPU each process of a sweep, of which there are as many as cores allow, has its share of that half.
    """
    if settings.cache_gb != "auto":
        return settings.cache_gb * 2**30
    processes = max(1, cpus() // settings.threads) if device.type == "cpu" else 1
    return free_bytes(device) / 2 / processes


@dataclass
class FeatureCache:
    """What one function made of crops."""

    compute: Compute
    kept: dict[Crop, Tensor] = field(default_factory=dict)
    nbytes: int = 0  # of what is kept
    seconds: float = 0.0  # that it took to compute
    computed: int = 0  # so many crops
    borrowed: set[Crop] = field(default_factory=set)  # kept by earlier runs, and not used by this one yet


@dataclass
class FeatureStore:
    """The caches of one backbone, by everything else that their features depend on, within a budget of bytes.

    On a CPU the last bits of a matrix product depend on the number of its rows, and the features of an image must not depend on
    what was computed before. Every batch therefore has ``batch`` crops; one that is not full repeats its last crop. Bits depend
    neither on the place of a crop in its batch nor on its neighbours (tests/finetune/test_feature_cache.py).

    Where the budget is spent, whole caches that the present fine-tuning does not use are dropped, those not used for longest
    first. Of the others nothing is: a fine-tuning visits its crops cyclically, so that the next one requested would be missing.
    """

    backbone: Backbone
    left: float  # bytes that caches may still take
    caches: dict[Hashable, FeatureCache] = field(default_factory=dict)  # the last one used is the last
    in_use: set[Hashable] = field(default_factory=set)  # by the present fine-tuning
    # what earlier runs took to compute what this run has used: a run's time must not depend on what ran before it
    # (on a CPU it does a little, by the crops that only fill a batch)
    borrowed_seconds: float = 0.0

    @property
    def batch(self) -> int:
        """The size of every batch; 0 means all crops that are missing.

        One image does not keep a core busy, least of all one of 50 tokens (bench/results/batch.csv), and in float16 the weights
        are rounded once for a batch. A request for a few crops takes longer than it would one by one.
        """
        return 8 if self.backbone.device.type == "cpu" else 0

    def cached(self, key: Hashable, make: Callable[[], Compute]) -> Compute:
        """The function under ``key``, which computes no crop twice; ``make`` is called for it if the key is new.

        It has to hold every object whose ``id`` is in the key: no other object gets this id then.
        """
        cache = self.caches.pop(key) if key in self.caches else FeatureCache(make())
        self.caches[key] = cache
        self.in_use.add(key)
        return partial(self._get, cache)

    def _get(self, cache: FeatureCache, crops: Sequence[Crop]) -> Tensor:
        if used := cache.borrowed.intersection(crops):
            cache.borrowed -= used
            self.borrowed_seconds += len(used) * cache.seconds / cache.computed
        missing, start = [c for c in dict.fromkeys(crops) if c not in cache.kept], time.perf_counter()
        size = self.batch or max(1, len(missing))
        parts = [missing[i : i + size] for i in range(0, len(missing), size)]
        full = [part + part[-1:] * (size - len(part)) for part in parts]
        fresh = {c: row for part in full for c, row in zip(part, cache.compute(part), strict=True)}
        cache.seconds, cache.computed = cache.seconds + time.perf_counter() - start, cache.computed + len(missing)
        found = torch.stack([fresh[c] if c in fresh else cache.kept[c] for c in crops])
        for crop, row in fresh.items():
            if self._take(row.nbytes):
                cache.kept[crop] = row.clone()  # a row of a batch would keep the whole batch alive
                cache.nbytes += row.nbytes
        return found

    def _take(self, size: int) -> bool:
        """Whether there is room for ``size`` bytes, after dropping what may be dropped; they are taken then."""
        while size > self.left and (unused := [k for k in self.caches if k not in self.in_use]):
            self.left += self.caches.pop(unused[0]).nbytes
        fits = size <= self.left
        self.left -= size if fits else 0
        return fits

    def release(self) -> None:
        """Whatever is kept may be dropped from now on: the next fine-tuning begins."""
        self.in_use.clear()

    def begin_run(self) -> None:
        """What is kept now was computed by earlier runs of this process."""
        self.borrowed_seconds = 0.0
        for cache in self.caches.values():
            cache.borrowed = set(cache.kept)

    @property
    def unused_bytes(self) -> int:
        """Bytes of earlier runs that this run has not used."""
        shares = (len(c.borrowed) * c.nbytes / len(c.kept) for c in self.caches.values() if c.borrowed)
        return round(sum(shares))


def store_for(backbone: Backbone, settings: Adapt) -> FeatureStore | None:
    """A store for several fine-tunings that follow one another, or None where they share nothing.

    On a GPU splits are trained side by side and share features anyway. Without a stem every split has random crops of its own,
    which would only fill the budget; of features of a stem there is one crop.
    """
    if backbone.device.type != "cpu" or not backbone.shape.stem:
        return None
    return FeatureStore(backbone, budget(settings, backbone.device))


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
        _of_process[key] = store_for(backbone, settings)
    return _of_process[key]
