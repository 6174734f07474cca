"""Crops and batches are drawn as documented; images on a device are cropped there, to the same values."""

from types import SimpleNamespace

import numpy as np
import torch

from grmp.data import crops


def test_tensor_and_array_give_the_same():
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 9, 9), dtype=np.uint8)
    drawn = [(3, 0, 2, False), (1, 2, 0, True), (1, 1, 1, False), (0, 2, 2, True)]
    assert torch.equal(crops.crop(torch.from_numpy(images), drawn, 7), crops.crop(images, drawn, 7))


def test_a_cpu_keeps_the_mapped_array_and_a_device_gets_it_if_half_of_what_is_free_holds_it(monkeypatch, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3, 4, 4), np.uint8))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert crops.place(mapped, torch.device("cpu")) is mapped
    elsewhere = torch.device("meta")  # it holds no values
    monkeypatch.setattr(crops, "free_bytes", lambda device: 2 * mapped.nbytes)
    placed = crops.place(mapped, elsewhere)
    assert (placed.device, placed.shape) == (elsewhere, mapped.shape)
    monkeypatch.setattr(crops, "free_bytes", lambda device: 2 * mapped.nbytes - 1)
    assert crops.place(mapped, elsewhere) is mapped


def settings(**change):
    """Settings of ``adapt`` that a draw reads."""
    return SimpleNamespace(**{"crops": "image", "views": 2, "seed": 7, "batch": 6, "batches": "even"} | change)


def test_published_crops_are_those_of_the_released_code():
    published = settings(crops="batch")
    for epoch in range(5):
        torch.random.manual_seed(3 * epoch + 1)  # finetune.py, train(): manual_seed(len(loader) * epoch + batch_idx)
        top, left, _ = torch.randint(20, (3,)).tolist()
        drawn = crops.draw_crops(np.array([4, 9]), 20, published, 3, epoch, 1, seed=0)
        assert drawn == [(4, top, left, left < 10), (9, top, left, left < 10)]


def test_own_crops_differ_per_picture_and_come_round():
    own = settings()
    rows = np.arange(50)
    first, second, third = (crops.draw_crops(rows, 20, own, 1, e, 0, seed=1) for e in range(3))
    assert first == third
    assert first != second
    assert len({c[1:] for c in first}) > 25
    assert {c[3] for c in first} == {True, False}
    assert (min(c[1] for c in first + second), max(c[2] for c in first + second)) == (0, 20)


def test_crop_flips():
    images = np.arange(2 * 3 * 4 * 4, dtype=np.uint8).reshape(2, 3, 4, 4)
    plain, flipped = crops.crop(images, [(1, 1, 2, False), (1, 1, 2, True)], 2)
    assert torch.equal(plain, torch.from_numpy(images[1, :, 1:3, 2:4].copy()))
    assert torch.equal(flipped, plain.flip(-1))


def test_batches_published_and_even():
    rng = np.random.default_rng(0)
    sizes = {
        kind: [len(b) for b in crops.draw_batches(np.arange(200), settings(batches=kind, batch=192), rng)]
        for kind in ("remainder", "even")
    }
    assert sizes == {"remainder": [192, 8], "even": [100, 100]}
