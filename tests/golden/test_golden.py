"""The kept copy of the golden numbers, and the given one where it is."""

import json
from pathlib import Path

import numpy as np
import pytest

from tests.golden import check, weights
from tests.golden.__main__ import TOLERANCE, main
from tests.golden.check import differences

KEPT = Path(__file__).parent / "small.npz"


def test_same_method_as_published():
    found = differences(KEPT)
    assert len(found) == 21
    assert max(found.values()) <= TOLERANCE, found


def test_given_file_is_the_kept_one(shared):
    assert (shared / "golden/small.npz").read_bytes() == KEPT.read_bytes()


def test_command_fails_on_other_numbers(tmp_path, capsys):
    with np.load(KEPT, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["task_loss"] = arrays["task_loss"] + np.float32(2e-4)
    np.savez(tmp_path / "other.npz", **arrays)
    assert main([str(tmp_path / "other.npz")]) == 1
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines() if "above" in line] == ["task_loss"]


@pytest.mark.parametrize("arguments", [[], ["nothing.npz"]])
def test_usage(arguments):
    assert main(arguments) == 1


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_file_at_vit_b16_size(tmp_path, monkeypatch):
    """A file of the format at the paper's size, its numbers taken in float64: float32 is within the tolerance of the check."""
    with np.load(KEPT, allow_pickle=False) as stored:
        names = [str(n) for n in stored["meta_param_names"]]
    config = {"embed_dim": 512, "image_size": 224, "patch_size": 16, "vision_width": 768, "vision_layers": 12}
    config |= {"text_width": 512, "text_layers": 12, "prompt_tokens": 100, "tuned_blocks": 4, "batch": 2}
    images = np.random.default_rng(0).integers(0, 256, (2, 3, 224, 224), dtype=np.uint8)
    targets = np.array([0.2, 0.8], np.float32)
    clip_weights, prompts, pixels = weights.clip_weights, weights.prompts, check.pixels
    with monkeypatch.context() as exact:
        exact.setattr(weights, "clip_weights", lambda s: {n: w.double() for n, w in clip_weights(s).items()})
        exact.setattr(weights, "prompts", lambda s, count: {n: w.double() for n, w in prompts(s, count).items()})
        for module in (check, check.meta):
            exact.setattr(module, "pixels", lambda x, shape: pixels(x, shape).double())
        found = check.computed(config, images, targets.astype(np.float64), names)
    stats = found.pop("grad_stats")
    arrays = {n: v.astype(np.float32) for n, v in found.items()}
    arrays |= {"grad_names": np.array(list(stats)), "grad_stats": np.array(list(stats.values()), np.float32)}
    arrays |= {"config": np.array(json.dumps(config)), "meta_param_names": np.array(names)}
    np.savez(tmp_path / "large.npz", images_u8=images, targets=targets, **arrays)
    found = differences(tmp_path / "large.npz")
    assert max(found.values()) <= TOLERANCE, found
