"""The cache keeps what fits and computes the rest."""

import gc
import time
import weakref
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from grmp.clip import shipped
from grmp.clip.model import PromptedCLIP, Shape
from grmp.device import cpus
from grmp.finetune import feature_cache
from grmp.finetune.feature_cache import FeatureStore, budget
from grmp.finetune.loop import of_crops
from grmp.params import Adapt
from tests.finetune.test_loop import SETTINGS, backbone
from tests.golden.weights import clip_weights

CPU, GPU = (SimpleNamespace(device=torch.device(d)) for d in ("cpu", "cuda"))  # what the store reads of a backbone
A, B, C = ((i, 0, 0, False) for i in range(3))


def noting(batches):
    """What makes a function that notes the crops of each call."""

    def compute(crops):
        batches.append(list(crops))
        return torch.tensor([[float(c[0])] * 5 for c in crops])  # 20 bytes each

    return lambda: compute


def test_keeps_within_budget():
    store, computed = FeatureStore(CPU, 2 * 20), []
    get = store.cached("key", noting(computed))
    features = get([A, B, A])
    assert features[:, 0].tolist() == [0, 1, 0]
    assert computed == [[A, *[B] * 7]]
    get([A, C])  # no room for the third
    get([C])
    get([B])
    assert computed[1:] == [[C] * 8] * 2
    assert store.left == 0


def test_what_is_kept_does_not_hold_its_batch():
    store = FeatureStore(GPU, 1000)  # which computes what is missing at once
    store.cached("key", lambda: five)([A, B])
    kept = store.caches["key"].kept[A]
    assert kept.untyped_storage().nbytes() == kept.nbytes


def test_automatic_budget_is_half_of_what_is_free():
    psutil = pytest.importorskip("psutil")
    free = psutil.virtual_memory().available
    one, two = (Adapt(**SETTINGS | {"cache_gb": "auto", "threads": n}) for n in (cpus(), 1))
    assert budget(one, torch.device("cpu")) == pytest.approx(free / 2, rel=0.2)
    assert budget(two, torch.device("cpu")) == pytest.approx(free / 2 / cpus(), rel=0.2), (
        "processes of a sweep share it"
    )
    assert budget(Adapt(**SETTINGS | {"cache_gb": 2.0}), torch.device("cpu")) == 2 * 2**30


def test_store_returns_one_cache_per_key():
    store, computed = FeatureStore(GPU, 1e6), []
    store.cached("key", noting(computed))([A, B])
    store.cached("key", lambda: pytest.fail("the key is known"))([B, C])
    assert computed == [[A, B], [C]]  # each crop once
    store.cached("other", noting(computed))([A])
    assert computed[2:] == [[A]]


def test_on_a_cpu_a_batch_is_always_full():
    store, computed = FeatureStore(CPU, 1e6), []
    get = store.cached("key", noting(computed))
    assert get([A, B, A])[:, 0].tolist() == [0, 1, 0]
    assert computed == [[A, B, *[B] * 6]]
    crops = [(i, 0, 0, False) for i in range(2, 11)]
    assert get([A, *crops])[:, 0].tolist() == [0, *range(2, 11)]
    assert computed[1:] == [crops[:8], [crops[8]] * 8]
    assert store.caches["key"].computed == 11, "repetitions are not counted"


SHAPE = Shape(24, 112, 16, 128, 3, 2, 64, 1, 1, True)  # without a stem, 50 tokens
FUNCTIONS = {
    "features": lambda clip, x: clip.features(x, clip.shape.vision_layers - 1),
    "embedding": lambda clip, x: clip.image(x),
    "tokens": lambda clip, x: clip.tokens(x),
    "scene logits": lambda clip, x: clip.logits(clip.image(x), torch.eye(clip.shape.embed_dim)[:9]),
}


@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
@pytest.mark.parametrize("precision", ["float32", "float16"])
@pytest.mark.parametrize(
    "clip", [shipped.load("small"), PromptedCLIP(clip_weights(SHAPE), SHAPE)], ids=["stem", "none"]
)
def test_features_depend_neither_on_their_place_in_a_batch_nor_on_their_neighbours(clip, precision, function):
    """To the last bit: which images a batch has depends on what the process has computed before."""
    sizes = (896, 7, 7) if clip.shape.stem else (3, SHAPE.image_size, SHAPE.image_size)
    images = np.random.default_rng(0).standard_normal((11, *sizes), dtype=np.float32)
    make = partial(of_crops, partial(function, clip), images, clip, precision)
    crops = [(i, 0, 0, False) for i in range(11)]
    whole, parts = (FeatureStore(clip, 1e9).cached("key", make) for _ in range(2))
    several = [*parts(crops[:1]), *parts(crops[4:0:-1]).flip(0), *parts(crops[5:])]
    assert torch.equal(whole(crops), torch.stack(several))


def five(crops):
    return torch.zeros(len(crops), 5)  # 20 bytes each


def test_store_drops_what_the_present_fine_tuning_does_not_use():
    store = FeatureStore(CPU, 3 * 20)
    for key in "first", "second":
        store.cached(key, lambda: five)([A])
    store.release()
    store.cached("first", lambda: five)
    store.cached("third", lambda: five)([A, B, C])  # the third crop finds no room: the first cache is in use
    assert {key: len(cache.kept) for key, cache in store.caches.items()} == {"first": 1, "third": 2}
    assert store.left == 0


def test_a_run_takes_as_long_as_if_it_had_been_the_first():
    """Whether it computes features or was given those of an earlier run."""

    def slow(crops):
        time.sleep(0.01 * len(crops))
        return five(crops)

    store = FeatureStore(CPU, 3 * 20)
    store.begin_run()
    store.cached("key", lambda: slow)([A, B])
    store.cached("key", lambda: slow)([A, B])
    assert store.borrowed_seconds == 0, "its own"
    assert store.unused_bytes == 0
    store.begin_run()
    assert store.unused_bytes == 40
    start = time.perf_counter()
    for crops in [A, B], [A, C]:
        store.cached("key", lambda: slow)(crops)
    assert store.borrowed_seconds == pytest.approx(2 * store.caches["key"].seconds / 3, rel=0.5)
    assert time.perf_counter() - start + store.borrowed_seconds >= 0.03
    assert store.unused_bytes == 0
    store.release()
    lent = store.borrowed_seconds
    store.cached("other", lambda: five)([A, B])
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


def test_features_are_freed_with_their_store():
    store = FeatureStore(CPU, 1e6)
    get = store.cached("key", lambda: five)
    get([A])
    kept = weakref.ref(store.caches["key"])
    gc.disable()
    try:
        del store, get
        assert kept() is None, (
            "a cycle would wait for the garbage collector, while the next fine-tuning needs the memory"
        )
    finally:
        gc.enable()
