"""The cache keeps what fits and computes the rest."""

import pytest
import torch

from grmp.finetune.feature_cache import Budget, FeatureCache, FeatureStore, budget, digest
from tests.finetune.test_loop import backbone


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
    assert cache.budget.left == 0


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


def test_digest_tells_contents_apart():
    one = {"a": torch.zeros(2, 3), "b": torch.ones(2)}
    assert digest(one) == digest({"b": torch.ones(2), "a": torch.zeros(2, 3)})
    assert len({digest(one), digest(one | {"a": torch.zeros(3, 2)}), digest(one | {"b": torch.zeros(2)})}) == 3
