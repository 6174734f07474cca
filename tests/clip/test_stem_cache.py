"""Features of a frozen stem are computed once per image, and no score changes by it."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from grmp.clip import shipped, stem_cache
from grmp.clip.model import pixels, tokenize
from grmp.data.dataset import Dataset


@pytest.fixture(scope="module")
def backbone():
    return shipped.load("small")


@pytest.fixture
def dataset(tmp_path):
    """Makes a database of noise, memory-mapped as a prepared one is."""

    def make(seed: int, size: int = 224, count: int = 3) -> Dataset:
        folder = tmp_path / f"{seed}-{size}-{count}"
        folder.mkdir(exist_ok=True)
        images = np.random.default_rng(seed).integers(0, 256, (count, 3, size, size), np.uint8)
        np.save(folder / "images.npy", images)
        images = np.load(folder / "images.npy", mmap_mode="r")
        return Dataset("toy", pd.DataFrame({"image": range(count)}), images, {"sha256": {"images.npy": str(seed)}})

    return make


def test_scores_are_those_of_the_pixels(backbone, dataset, tmp_path):
    toy = dataset(1)
    text = backbone.text(tokenize(["a photo with high quality.", "a photo with low quality."]))
    features = stem_cache.inputs(tmp_path, toy, backbone)
    assert features.shape == (3, 896, 7, 7)
    rows = np.array([2, 0])
    direct, cached = (backbone.score(images, rows, text) for images in (toy.images, features))
    np.testing.assert_allclose(cached, direct, atol=1e-6)
    assert np.ptp(direct) > 0


def test_an_image_does_not_depend_on_its_neighbours(backbone, dataset, tmp_path):
    three, one = dataset(1), dataset(1, count=1)
    both = [np.array(stem_cache.inputs(tmp_path / str(len(d.images)), d, backbone)) for d in (three, one)]
    assert both[0][0].tobytes() == both[1][0].tobytes()


def test_computed_once_and_again_for_other_images(backbone, dataset, tmp_path, monkeypatch):
    stem_cache.inputs(tmp_path, dataset(1, count=1), backbone)
    (file,) = (tmp_path / "data/stem/toy").iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(stem_cache.stem, "features", lambda *_: pytest.fail("computed again"))
        stem_cache.inputs(tmp_path, dataset(1, count=1), backbone)
        # a process of a sweep that began with the other protocol has a CLIP with that protocol's pixel statistics
        other = replace(backbone, shape=replace(backbone.shape, normalize="clip"))
        assert other.shape != backbone.shape
        stem_cache.inputs(tmp_path, dataset(1, count=1), other)
    stem_cache.inputs(tmp_path, dataset(2, count=1), backbone)
    (other,) = (tmp_path / "data/stem/toy").iterdir()
    assert other != file


def test_of_larger_images_the_centre_crop_is_read(backbone, dataset, tmp_path):
    toy = dataset(1, size=244, count=1)
    features = stem_cache.inputs(tmp_path, toy, backbone)
    x = pixels(torch.from_numpy(np.array(toy.images[:, :, 10:234, 10:234])), backbone.shape)
    with torch.no_grad():
        np.testing.assert_allclose(features, stem_cache.stem.features(backbone.weights, x), atol=1e-4)


def test_features_do_not_depend_on_the_number_of_threads(backbone, dataset, tmp_path):
    found, before = [], torch.get_num_threads()
    for threads in (1, 4):
        torch.set_num_threads(threads)
        try:
            found.append(np.array(stem_cache.inputs(tmp_path / str(threads), dataset(1), backbone)))
            assert torch.get_num_threads() == threads
        finally:
            torch.set_num_threads(before)
    assert found[0].tobytes() == found[1].tobytes()


def test_what_earlier_runs_read_is_no_memory_of_the_next(tmp_path):
    psutil = pytest.importorskip("psutil")
    np.save(tmp_path / "features.npy", np.ones(8 * 2**20))  # 64 MiB
    features, process = stem_cache._open(tmp_path / "features.npy"), psutil.Process()
    assert features.sum() == 8 * 2**20
    before = process.memory_info().rss
    stem_cache.forget()
    assert process.memory_info().rss < before - 48 * 2**20
    assert features.sum() == 8 * 2**20
