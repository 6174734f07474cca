"""Several splits as one batch: the numbers of each are those it gives alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from grmp.clip.model import Backbone, image_embedding, logits, pixels, text_embedding
from grmp.finetune.loop import finetune
from grmp.finetune.types import Subset
from grmp.params import Adapt
from tests.finetune.test_adapt import SETTINGS, SHAPE, TEST, job, tune, world
from tests.golden import weights

__all__ = ["world"]
SPLITS = (0, 1, 2)


def jobs(world, dtype=torch.float64, own_prompts=False):
    """Three splits with other pictures, other draws and other numbers of test pictures."""
    rng, out = np.random.default_rng(1), []
    for split in SPLITS:
        rows = rng.permutation(21)
        prompts = {n: t.to(dtype) * (1 + 0.1 * split * own_prompts) for n, t in world[1].items()}
        prompts = prompts if own_prompts or not out else out[0].prompts
        one = job(world, split=split, prompts=prompts)
        out.append(
            replace(one, train=replace(one.train, rows=rows[:9]), test=replace(one.test, rows=rows[9 : 18 + split]))
        )
    return out


def backbone(dtype):
    return Backbone(SHAPE, {n: t.to(dtype) for n, t in weights.clip_weights(SHAPE).items()}, "seeded")


def together_and_alone(world, dtype=torch.float64, rule="published", train=("context", "blocks"), own=False, **change):
    three, arguments = (
        jobs(world, dtype, own),
        (backbone(dtype), world[2], tune(rule, train), Adapt(**SETTINGS | change)),
    )
    return finetune(*arguments, three), alone(*arguments, three)


def alone(*arguments):
    """One split after the other."""
    *rest, splits = arguments
    return [finetune(*rest, [split])[0] for split in splits]


def assert_equal(together, alone, atol):
    for a, b in zip(together, alone, strict=True):
        np.testing.assert_allclose(a.scores, b.scores, atol=atol, rtol=0)
        assert [h["epoch"] for h in a.history] == [h["epoch"] for h in b.history]
        for name in ("learning_rate", "task_loss", "semantic_loss", "angle_deg"):
            # the angle's arc cosine magnifies, and the targets are float32
            np.testing.assert_allclose([h[name] for h in a.history], [h[name] for h in b.history], atol=1e4 * atol)
        assert a.trained_values == b.trained_values


@pytest.mark.parametrize("rule", ["none", "published", "prograd", "pcgrad", "cosine_gate"])
def test_equal_numbers(world, rule):
    assert_equal(*together_and_alone(world, rule=rule), atol=1e-10)


@pytest.mark.parametrize(
    "train",
    [("context",), ("visual_prompts",), ("context", "visual_prompts"), ("lora",), ("context", "lora"), ("all",)],
)
def test_equal_numbers_whatever_is_trained(world, train):
    assert_equal(*together_and_alone(world, train=train), atol=1e-10)


@pytest.mark.parametrize(
    "change",
    [
        {"momentum": 0.9},
        {"batch": 4, "batches": "remainder"},
        {"crops": "batch", "views": 0},
        {"pair_gradients": "position"},
        {"cache_gb": 0.0},
        {"cache_gb": 1e-4},
        {"label_scale": "set"},
    ],
)
def test_equal_numbers_under_other_settings(world, change):
    assert_equal(*together_and_alone(world, **change), atol=1e-10)


@pytest.mark.parametrize("train", [("context", "blocks"), ("context", "visual_prompts")])
def test_splits_with_prompts_of_their_own(world, train):
    together, alone = together_and_alone(world, train=train, own=True)
    assert_equal(together, alone, atol=1e-10)
    assert not np.allclose(together[1].scores[:9], together_and_alone(world, train=train)[0][1].scores[:9])


def test_float32(world):
    assert_equal(*together_and_alone(world, dtype=torch.float32), atol=1e-5)


def test_splits_that_end_at_different_epochs(world):
    """The published search: each split has a rate, a best epoch and an end of its own."""
    change = {"select": "test", "evaluate_every": 1, "patience": 1, "epochs": 60, "learning_rate": 2e-4, "views": 1}
    together, alone = together_and_alone(world, **change)
    assert_equal(together, alone, atol=1e-10)
    assert len({len(o.history) for o in together}) > 1
    assert max(len(o.history) for o in together) < 60


def test_one_bad_split_hurts_no_other(world):
    three = jobs(world)
    quality = world[4].copy()
    quality[three[1].train.rows[0]] = np.nan
    three[1] = replace(three[1], train=replace(three[1].train, quality=quality))
    settings = Adapt(**SETTINGS)
    found = finetune(backbone(torch.float64), world[2], tune(), settings, three)
    assert "epoch 0" in found[1].failure
    good = together_and_alone(world)[1]
    assert_equal([found[0], found[2]], [good[0], good[2]], atol=1e-10)


def test_different_numbers_of_labels_do_not_share_a_batch(world):
    three = jobs(world)
    three[0] = replace(three[0], train=replace(three[0].train, rows=three[0].train.rows[:5]))
    arguments = backbone(torch.float64), world[2], tune(), Adapt(**SETTINGS), three
    assert_equal(finetune(*arguments), alone(*arguments), atol=1e-10)


def test_alone_is_bit_identical_whatever_came_before(world):
    settings, three = Adapt(**SETTINGS), jobs(world, torch.float32)
    place = backbone(torch.float32)
    forth = alone(place, world[2], tune(), settings, three)
    back = alone(place, world[2], tune(), settings, three[::-1])[::-1]
    assert [o.scores.tobytes() for o in forth] == [o.scores.tobytes() for o in back]
    assert [o.history for o in forth] == [o.history for o in back]


def test_another_teacher_changes_the_semantic_loss_alone(world):
    own = job(world)
    other = replace(own, teacher={n: t * 1.1 for n, t in world[0].weights.items()})
    settings = Adapt(**SETTINGS | {"epochs": 1, "batch": 9})
    a, b = (finetune(world[0], world[2], tune(), settings, [j])[0].history[0] for j in (own, other))
    assert a["task_loss"] == b["task_loss"]
    assert a["semantic_loss"] != b["semantic_loss"]


@pytest.mark.parametrize("train", [("context", "blocks"), ("lora",)])
@pytest.mark.parametrize("at_once", [1, 3])
def test_kept_tensors_are_the_adapted_clip(world, at_once, train):
    settings, run = Adapt(**SETTINGS), finetune if at_once == 3 else alone
    three = [replace(j, keep=True) for j in jobs(world, torch.float32, own_prompts=True)]
    found = run(backbone(torch.float32), world[2], tune(train=train), settings, three)
    for one, outcome in zip(three, found, strict=True):
        p, pictures = outcome.tensors, np.asarray(one.test.images)[one.test.rows][:, :, 2:34, 2:34]
        image = image_embedding(p, pixels(torch.from_numpy(pictures.copy()), SHAPE), SHAPE)
        scores = logits(p, image, text_embedding(p, world[2].quality, SHAPE, p["ctx"])).softmax(-1)[:, 0]
        assert not scores.requires_grad
        np.testing.assert_allclose(scores, outcome.scores, atol=1e-5)
    assert finetune(world[0], world[2], tune(), settings, [job(world)])[0].tensors is None


def test_train_and_test_of_two_databases(world):
    elsewhere = np.random.default_rng(0).integers(0, 256, (6, 3, 36, 36), dtype=np.uint8)
    own = job(world)
    apart = replace(own, test=Subset(elsewhere, np.zeros(6), np.arange(6)))
    settings = Adapt(**SETTINGS)
    a, b = (finetune(world[0], world[2], tune(), settings, [j])[0] for j in (own, apart))
    assert a.history == b.history
    assert len(b.scores) == 6
    assert len(a.scores) == len(TEST)
