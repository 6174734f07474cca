"""The cache keeps what fits and computes the rest."""

import gc
import time
import weakref
from dataclasses import replace

import pytest
import torch

from grmp.device import cpus
from grmp.finetune import feature_cache
from grmp.finetune.feature_cache import Budget, FeatureCache, FeatureStore, budget, digest
from grmp.params import Adapt
from tests.finetune.test_loop import SETTINGS, backbone


def counted(budget_bytes):
    computed = []

    def compute(crops):
        computed.extend(crops)
        return torch.tensor([[float(c[0])] * 5 for c in crops])

    return FeatureCache(compute, Budget(budget_bytes)), computed


A, B, C = ((i, 0, 0, False) for i in range(3))


def test_keeps_within_budget():
    cache, computed = counted(2 * 20)
    features = cache.get([A, B, A])
    assert features[:, 0].tolist() == [0, 1, 0]
    assert computed == [A, B]
    cache.get([A, C])  # no room for the third
    cache.get([C])
    cache.get([B])
    assert computed == [A, B, C, C]
    assert cache.room.left == 0


def test_nothing_is_kept_without_budget():
    cache, computed = counted(0)
    cache.get([A])
    cache.get([A])
    assert computed == [A, A]


def test_caches_share_a_budget():
    common = Budget(30)
    one, two = (FeatureCache(lambda crops: torch.zeros(len(crops), 5), common) for _ in range(2))
    one.get([A])
    two.get([A, B])
    assert (len(one.kept), len(two.kept)) == (1, 0)


def test_what_is_kept_does_not_hold_its_batch():
    cache, _ = counted(1000)
    cache.get([A, B])
    assert cache.kept[A].untyped_storage().nbytes() == cache.kept[A].nbytes


def test_automatic_budget_is_half_of_what_is_free():
    psutil = pytest.importorskip("psutil")
    free = psutil.virtual_memory().available
    assert budget("auto", torch.device("cpu")).left == pytest.approx(free / 2, rel=0.2)
    assert budget(2.0, torch.device("cpu")).left == 2 * 2**30


def test_store_returns_one_cache_per_key():
    store, calls = FeatureStore(backbone(torch.float32), Budget(1e6)), []

    def compute(crops):
        calls.append(list(crops))
        return torch.zeros(len(crops), 5)

    def never():
        raise AssertionError("the key is known")

    first = store.cache("key", lambda: compute)
    assert store.cache("key", never) is first
    assert store.cache("other", lambda: compute) is not first
    first.get([A, B])
    first.get([B, C])
    assert calls == [[A], [B], [C]]  # one crop at a time, each once


def five(crops):
    return torch.zeros(len(crops), 5)  # 20 bytes each


def test_store_drops_what_the_present_fine_tuning_does_not_use():
    store = FeatureStore(backbone(torch.float32), Budget(3 * 20))
    for key in "first", "second":
        store.cache(key, lambda: five).get([A])
    store.release()
    store.cache("first", lambda: five)
    store.cache("third", lambda: five).get([A, B, C])  # the third crop finds no room: the first cache is in use
    assert {key: len(cache.kept) for key, cache in store.caches.items()} == {"first": 1, "third": 2}
    assert store.budget.left == 0


def test_a_run_takes_as_long_as_if_it_had_been_the_first():
    """Whether it computes features or was given those of an earlier run."""

    def slow(crops):
        time.sleep(0.01 * len(crops))
        return five(crops)

    store = FeatureStore(backbone(torch.float32), Budget(3 * 20))
    store.begin_run()
    store.cache("key", lambda: slow).get([A, B])
    store.cache("key", lambda: slow).get([A, B])
    assert store.borrowed_seconds == 0, "its own"
    assert store.unused_bytes == 0
    store.begin_run()
    assert store.unused_bytes == 40
    start = time.perf_counter()
    for crops in [A, B], [A, C]:
        store.cache("key", lambda: slow).get(crops)
    assert store.borrowed_seconds == pytest.approx(2 * store.caches["key"].seconds / 3, rel=0.5)
    assert time.perf_counter() - start + store.borrowed_seconds >= 0.03
    assert store.unused_bytes == 0
    store.release()
    lent = store.borrowed_seconds
    store.cache("other", lambda: five).get([A, B])
    assert "key" not in store.caches
    assert store.borrowed_seconds == lent, "it was used, though it is not kept any more"
    store.begin_run()
    assert store.borrowed_seconds == 0


def test_runs_of_a_process_share_features_of_a_stem():
    """Of images every split has crops of its own."""
    clip = backbone(torch.float32)
    settings = Adapt(**SETTINGS)
    assert feature_cache.of_process(clip, settings) is None
    one, other = (replace(clip, shape=replace(clip.shape, stem="lite0"), sha256=name) for name in "ab")
    store = feature_cache.of_process(one, settings)
    assert store.backbone is one
    normalized = replace(one, shape=replace(one.shape, normalize="imagenet"))
    assert feature_cache.of_process(normalized, settings) is store, "features of a stem are not normalised"
    assert feature_cache.of_process(one, settings.model_copy(update={"threads": 7})) is not store
    assert feature_cache.of_process(other, settings).backbone is other


def test_processes_of_a_sweep_share_the_memory():
    clip = backbone(torch.float32)
    clip = replace(clip, shape=replace(clip.shape, stem="lite0"), sha256="c")
    auto = Adapt(**SETTINGS | {"cache_gb": "auto", "threads": 1})
    whole, part = feature_cache.store_for(clip, auto), feature_cache.of_process(clip, auto)
    assert part.budget.left == pytest.approx(whole.budget.left / cpus(), rel=0.2)
    fixed = Adapt(**SETTINGS | {"cache_gb": 0.5, "threads": 1})
    assert feature_cache.of_process(clip, fixed).budget.left == 2**29


def test_features_are_freed_with_their_store():
    store = FeatureStore(backbone(torch.float32), Budget(1e6))
    kept = weakref.ref(store.cache("key", lambda: five))
    store.cache("key", lambda: five).get([A])
    gc.disable()
    try:
        del store
        assert kept() is None, (
            "a cycle would wait for the garbage collector, while the next fine-tuning needs the memory"
        )
    finally:
        gc.enable()


def test_digest_tells_contents_apart():
    one = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    assert digest(one) == digest({"b": torch.ones(2), "a": torch.zeros(2, 3)})
    assert len({digest(one), digest(one | {"a": torch.zeros(3, 2)}), digest(one | {"b": torch.zeros(2)})}) == 3
