"""Few-shot adaptation: against a plain recipe, and its promises one by one."""

import re

import numpy as np
import pytest
import torch

from grmp.clip.model import (
    Backbone,
    Shape,
    image_embedding,
    logits,
    pixels,
    prompted_texts,
    semantic_loss,
    task_loss,
    text_embedding,
    tokenize,
)
from grmp.data import crops
from grmp.finetune import loop
from grmp.finetune.gradient_rules import regularize
from grmp.finetune.loop import finetune
from grmp.finetune.types import TEACHER_SCENE, SplitData, Subset, Texts
from grmp.params import Adapt, Tune
from tests.golden import weights

SHAPE = Shape(24, 32, 8, 64, 3, 1, 64, 3, 1, True, "imagenet")
SETTINGS = {
    "tuned_blocks": 1,
    "learning_rate": 0.05,
    "momentum": 0.0,
    "weight_decay": 1e-4,
    "batch": 6,
    "epochs": 4,
    "angle_every": 1,
    "evaluate_every": 2,
    "patience": 2,
    "select": "fixed",
    "label_scale": "database",
    "pair_gradients": "name",
    "batches": "even",
    "crops": "image",
    "views": 2,
    "precision": "float32",
    "temperature": 1.0,
    "scenes": ["animal", "plant", "others"],
    "seed": 7,
    "lora_rank": 2,
    "cache_gb": 1.0,
    "splits_at_once": 0,
    "threads": 1,
    "device": "cpu",
}
TRAIN, TEST = np.arange(9), np.arange(9, 21)


@pytest.fixture(scope="module")
def world():
    """A small seeded backbone, prompts, texts, pictures whose brightness is their quality."""
    backbone = Backbone(SHAPE, weights.clip_weights(SHAPE), "seeded")
    rng = np.random.default_rng(3)
    quality = rng.uniform(size=21)
    images = np.clip(rng.normal(60 + 130 * quality[:, None, None, None], 20, (21, 3, 36, 36)), 0, 255).astype(np.uint8)
    texts = Texts(
        tokenize(prompted_texts(["high quality", "low quality"], 4)),
        tokenize([TEACHER_SCENE.format(s) for s in SETTINGS["scenes"]]),
    )
    return backbone, weights.prompts(SHAPE, 5), texts, images, quality


def tune(rule="published", train=("context", "blocks"), prompts="random"):
    return Tune(kind="tune", label="", prompts=prompts, train=list(train), rule=rule, strength=5.0)


def job(world, images=None, quality=None, split=2, **change):
    _, prompts, _, own_images, own_quality = world
    images = own_images if images is None else images
    quality = own_quality if quality is None else quality
    sides = Subset(images, quality, TRAIN), Subset(images, quality, TEST)
    return SplitData(**{"split": split, "prompts": prompts, "train": sides[0], "test": sides[1]} | change)


def run(world, rule="published", images=None, quality=None, train=("context", "blocks"), **change):
    settings = Adapt(**SETTINGS | change)
    return finetune(world[0], world[2], tune(rule, train), settings, [job(world, images, quality)])[0]


def plain_recipe(world, settings, train):
    """The same work without a cache, a frozen trunk, or one forward for two gradients."""
    backbone, prompts, texts, images, quality = world
    p = {n: t.clone() for n, t in (backbone.weights | prompts).items()}
    names = [n for n in p if n.startswith(loop.tuned_names(SHAPE, train, settings.tuned_blocks))]
    for n in names:
        p[n].requires_grad_()
    optimizer = torch.optim.SGD([p[n] for n in names], lr=settings.learning_rate, weight_decay=settings.weight_decay)
    rng = np.random.default_rng([settings.seed, 2])

    def forward(x):
        image = image_embedding(p, x, SHAPE)
        quality_logits = logits(p, image, text_embedding(p, texts.quality, SHAPE, p["ctx"]))
        return quality_logits, logits(p, image, text_embedding(p, texts.scenes, SHAPE))

    for epoch in range(settings.epochs):
        batches = crops.draw_batches(TRAIN, settings, rng)
        for number, members in enumerate(batches):
            drawn = crops.draw_crops(TRAIN[members], 4, settings, len(batches), epoch, number, 2)
            x = pixels(crops.crop(images, drawn, 32), SHAPE)
            with torch.no_grad():
                w = backbone.weights
                seen = image_embedding(w, x, SHAPE)
                teacher = logits(w, seen, text_embedding(w, texts.scenes, SHAPE))
            both = []
            for which in (0, 1):
                optimizer.zero_grad()
                out = forward(x)
                if which == 0:
                    loss = task_loss(out[0], torch.from_numpy(quality[TRAIN[members]].astype(np.float32)))
                else:
                    loss = semantic_loss(out[1], teacher)
                if loss.requires_grad:  # with the context alone, nothing reaches the scene texts
                    loss.backward()
                both.append({n: p[n].grad.clone() for n in names if p[n].grad is not None})
            for n, g in regularize("published", *both, 5.0).items():
                p[n].grad = g
            optimizer.step()
    with torch.no_grad():
        x = pixels(torch.from_numpy(images[TEST][:, :, 2:34, 2:34].copy()), SHAPE)
        return forward(x)[0].softmax(-1)[:, 0].numpy()


@pytest.mark.parametrize(
    "train",
    [("context", "blocks"), ("context",), ("visual_prompts",), ("context", "visual_prompts"), ("blocks",), ("all",)],
)
def test_equals_the_plain_recipe(world, train):
    expected = plain_recipe(world, Adapt(**SETTINGS), train)
    np.testing.assert_allclose(run(world, train=train).scores, expected, atol=1e-5)


def test_same_seed_same_bytes_and_history(world):
    one, two = run(world), run(world)
    assert one.scores.tobytes() == two.scores.tobytes()
    assert one.history == two.history
    assert [h["epoch"] for h in one.history] == [0, 1, 2, 3]
    assert all(0 < h["angle_deg"] < 180 for h in one.history)
    assert run(world, seed=8).scores.tobytes() != one.scores.tobytes()


def test_cache_changes_nothing(world):
    np.testing.assert_allclose(run(world).scores, run(world, cache_gb=0.0).scores, atol=1e-6)


def test_learns_the_labels(world):
    history = run(world, rule="none", epochs=40).history
    assert history[-1]["task_loss"] < history[0]["task_loss"] - 0.01


def test_angle_can_be_looked_at_less_often(world):
    often, seldom = run(world, rule="none"), run(world, rule="none", angle_every=3)
    assert often.scores.tobytes() == seldom.scores.tobytes()
    assert [bool(np.isnan(h["angle_deg"])) for h in seldom.history] == [False, True, True, False]


def test_rule_and_strength_matter(world):
    assert not np.allclose(run(world).scores, run(world, rule="none").scores)


def test_trained_values_are_counted(world):
    tuned, frozen = loop.split_tuned(world[0].weights | world[1], loop.tuned_names(SHAPE, ("context", "blocks"), 1))
    assert run(world).trained_values == sum(t.numel() for t in tuned.values())
    assert {"ctx", "ln_final.weight", "visual.ln_post.bias", "transformer.resblocks.2.ln_1.bias"} <= set(tuned)
    assert {"visual.proj", "visual.prompt_embeddings", "visual.transformer.resblocks.1.ln_1.bias"} <= set(frozen)


def test_published_number_of_trained_values():
    shape = Shape(512, 224, 16, 768, 12, 12, 512, 12, 8, True, "imagenet")
    sizes = {n: t.numel() for n, t in weights.clip_weights(shape).items()} | {"ctx": 4 * 512}
    assert (
        sum(v for n, v in sizes.items() if n.startswith(loop.tuned_names(shape, ("context", "blocks"), 4)))
        == 40_965_632
    )


class Recorder:
    """Pictures that remember which of them were looked at."""

    def __init__(self, images):
        self.images, self.shape, self.seen = images, images.shape, []

    def __getitem__(self, key):
        self.seen.append(key[0])
        return self.images[key]


def test_test_pictures_are_read_once_at_the_end(world):
    images = Recorder(world[3])
    quality = world[4].copy()
    quality[TEST] = np.nan  # nothing may depend on the test labels
    scores = run(world, images=images, quality=quality).scores
    assert np.isfinite(scores).all()
    reads = [r in TEST for r in images.seen]
    assert reads == sorted(reads)
    assert sum(reads) == len(TEST)


def test_published_selection_reads_the_test_side(world):
    images = Recorder(world[3])
    run(world, images=images, select="test", cache_gb=0.0)
    assert sum(r in TEST for r in images.seen) == 3 * len(TEST)  # before training, and every second of four epochs


def test_loss_that_is_not_finite_names_the_place(world):
    quality = world[4].copy()
    quality[TRAIN[0]] = np.inf
    failure = run(world, quality=quality).failure
    assert re.fullmatch(r"loss is not finite at epoch 0, batch \d, learning rate 0.05", failure)


def test_published_crops_are_those_of_the_released_code():
    settings = Adapt(**SETTINGS | {"crops": "batch"})
    for epoch in range(5):
        torch.random.manual_seed(3 * epoch + 1)  # finetune.py, train(): manual_seed(len(loader) * epoch + batch_idx)
        top, left, _ = torch.randint(20, (3,)).tolist()
        drawn = crops.draw_crops(np.array([4, 9]), 20, settings, 3, epoch, 1, seed=0)
        assert drawn == [(4, top, left, left < 10), (9, top, left, left < 10)]


def test_own_crops_differ_per_picture_and_come_round():
    settings = Adapt(**SETTINGS)
    rows = np.arange(50)
    first, second, third = (crops.draw_crops(rows, 20, settings, 1, e, 0, seed=1) for e in range(3))
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
        kind: [
            len(b) for b in crops.draw_batches(np.arange(200), Adapt(**SETTINGS | {"batches": kind, "batch": 192}), rng)
        ]
        for kind in ("remainder", "even")
    }
    assert sizes == {"remainder": [192, 8], "even": [100, 100]}


def test_position_pairing_meets_the_neighbour():
    task = {"ctx": torch.ones(2), "a": torch.ones(3), "b": torch.full((3,), 2.0)}
    semantic = {"a": torch.full((3,), 10.0), "b": torch.full((3,), 20.0)}  # none for the context
    paired = loop.by_position(task, semantic)
    assert set(paired) == {"a"}  # the context would meet a tensor of another size
    assert torch.equal(paired["a"], semantic["b"])
