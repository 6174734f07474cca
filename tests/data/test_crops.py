"""Pictures on a device are cropped there, to the same values."""

import numpy as np
import torch

from grmp.data import crops


def test_tensor_and_array_give_the_same():
    images = np.random.default_rng(0).integers(0, 256, (4, 3, 9, 9), dtype=np.uint8)
    drawn = [(3, 0, 2, False), (1, 2, 0, True), (1, 1, 1, False), (0, 2, 2, True)]
    assert torch.equal(crops.crop(torch.from_numpy(images), drawn, 7), crops.crop(images, drawn, 7))


def test_a_cpu_keeps_the_mapped_array(tmp_path):
    np.save(tmp_path / "a.npy", np.zeros((2, 3, 4, 4), np.uint8))
    mapped = np.load(tmp_path / "a.npy", mmap_mode="r")
    assert crops.place(mapped, torch.device("cpu")) is mapped


def test_a_device_gets_the_array_if_half_of_what_is_free_holds_it(monkeypatch, tmp_path):
    np.save(tmp_path / "a.npy", np.ones((2, 3, 4, 4), np.uint8))
    mapped, elsewhere = (
        np.load(tmp_path / "a.npy", mmap_mode="r"),
        torch.device("meta"),
    )  # a device that holds no values
    monkeypatch.setattr(crops, "free_bytes", lambda device: 2 * mapped.nbytes)
    placed = crops.place(mapped, elsewhere)
    assert (placed.device, placed.shape) == (elsewhere, mapped.shape)
    monkeypatch.setattr(crops, "free_bytes", lambda device: 2 * mapped.nbytes - 1)
    assert crops.place(mapped, elsewhere) is mapped
