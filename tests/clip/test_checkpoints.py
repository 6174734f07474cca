"""CLIP's weights: found by open_clip's name, verified, refused where they would be read wrongly."""

import errno
from pathlib import Path

import pytest
import torch

from grmp.clip import checkpoints
from grmp.errors import UserError


def test_checkpoints_are_read_back_and_same_bytes(tmp_path):
    tensors = {"b": torch.arange(4.0), "a": torch.ones(2, 2).T}
    for name in ("one", "two"):
        checkpoints.save(tmp_path / name, tensors, {"z": 1, "config": {"x": [1, 2]}, "a": "text"})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    read, metadata = checkpoints.read(tmp_path / "one", "")
    assert metadata == {"z": 1, "config": {"x": [1, 2]}, "a": "text"}
    assert all(torch.equal(read[n], tensors[n]) for n in tensors)


@pytest.mark.parametrize("cut", [0, 7, 60, -3])
def test_corrupt_checkpoints_are_named(tmp_path, cut):
    path = tmp_path / "c.safetensors"
    checkpoints.save(path, {"a": torch.ones(3)}, {"config": {}})
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(UserError, match=r"c\.safetensors is corrupt .*; delete it, then do this"):
        checkpoints.read(path, "do this")


def test_one_flipped_bit_is_reported_or_changes_nothing(tmp_path):
    path = tmp_path / "c.safetensors"
    tensors, card = {"a": torch.arange(6.0).half(), "b": torch.ones(2, 3), "c": torch.tensor(3.0)}, {"config": {"x": 1}}
    checkpoints.save(path, tensors, card)
    whole, reported = path.read_bytes(), 0
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 1 << at % 8]) + whole[at + 1 :])
        try:
            read, metadata = checkpoints.read(path, "")
        except UserError:
            reported += 1
            continue
        metadata.pop("digest", None)
        if metadata:  # without, it is no checkpoint of this project
            assert metadata.pop("config") == card["config"]
            assert read.keys() == tensors.keys()
            assert all(torch.equal(read[n], tensors[n]) for n in tensors)
    assert reported > 0.9 * len(whole)


def test_a_full_disk_leaves_nothing_behind(tmp_path, monkeypatch):
    def full(*arguments, **named):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match=r"cannot write .*No space left on device"):
        checkpoints.save(tmp_path / "c.safetensors", {"a": torch.ones(3)}, {})
    assert list(tmp_path.iterdir()) == []


def test_digest_tells_contents_apart():
    def digest(**change):
        return checkpoints.digest({"a": torch.zeros(2, 3), "b": torch.ones(2)} | change, {})

    assert digest() == checkpoints.digest({"b": torch.ones(2), "a": torch.zeros(2, 3)}, {})
    assert len({digest(), digest(a=torch.zeros(3, 2)), digest(b=torch.zeros(2))}) == 3
