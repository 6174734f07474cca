"""The fine-tuning loop: against a plain recipe, its promises one by one, and several splits as one batch."""

import re
from dataclasses import replace
from functools import cache
from itertools import product

import numpy as np
import pytest
import torch

from grmp.clip.model import (
    Backbone,
    PromptDropout,
    PromptedCLIP,
    Shape,
    pixels,
    prompted_texts,
    semantic_loss,
    task_loss,
    tokenize,
)
from grmp.data import crops
from grmp.errors import UserError
from grmp.finetune import loop
from grmp.finetune.feature_cache import FeatureStore
from grmp.finetune.gradient_rules import regularize
from grmp.finetune.loop import finetune, sgd_step
from grmp.finetune.types import TEACHER_SCENE, SplitData, Subset, Texts
from grmp.params import Adapt, Tune
from tests.golden import weights
from tests.worlds import SHAPE

SETTINGS = {
    "tuned_blocks": 1,
    "learning_rate": 0.05,
    "momentum": 0.0,
    "weight_decay": 1e-4,
    "batch": 6,
    "batch_synthetic": 6,
    "epochs": 4,
    "angle_every": 1,
    "evaluate_every": 2,
    "patience": 2,
    "select": "fixed",
    "label_scale": "database",
    "batches": "even",
    "crops": "image",
    "views": 2,
    "precision": "float32",
    "prompt_dropout": 0.0,
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
PADDED = 16  # test images in full batches of eight


@cache
def backbone(dtype):
    return Backbone({n: t.to(dtype) for n, t in weights.clip_weights(SHAPE).items()}, SHAPE, "seeded")


@pytest.fixture(scope="module")
def world():
    """A small seeded backbone, prompts, texts, pictures whose brightness is their quality."""
    rng = np.random.default_rng(3)
    quality = rng.uniform(size=21)
    images = np.clip(rng.normal(60 + 130 * quality[:, None, None, None], 20, (21, 3, 36, 36)), 0, 255).astype(np.uint8)
    texts = Texts(
        tokenize(prompted_texts(["high quality", "low quality"], 4)),
        tokenize([TEACHER_SCENE.format(s) for s in SETTINGS["scenes"]]),
    )
    return backbone(torch.float32), weights.prompts(SHAPE, 5), texts, images, quality


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
    """The same work without a cache, a frozen trunk, or one forward for two gradients, in the type of the weights."""
    backbone, prompts, texts, images, quality = world
    dtype = backbone.weights["logit_scale"].dtype
    p = {n: t.clone() for n, t in (backbone.weights | prompts).items()}
    names = [n for n in p if n.startswith(loop.tuned_names(SHAPE, train, settings.tuned_blocks))]
    for n in names:
        p[n].requires_grad_()
    optimizer = torch.optim.SGD([p[n] for n in names], lr=settings.learning_rate, weight_decay=settings.weight_decay)
    rng = np.random.default_rng([settings.seed, 2])

    def forward(x, *masks):
        clip = PromptedCLIP(p, SHAPE)
        image = clip.image(x, *masks)
        return clip.logits(image, clip.quality_text(texts.quality)), clip.logits(image, clip.text(texts.scenes))

    for epoch in range(settings.epochs):
        batches = crops.draw_batches(TRAIN, settings, rng)
        for number, members in enumerate(batches):
            drawn = crops.draw_crops(TRAIN[members], 4, settings, len(batches), epoch, number, 2)
            x = pixels(crops.crop(images, drawn, 32), SHAPE).to(dtype)
            with torch.no_grad():
                teacher = backbone.logits(backbone.image(x), backbone.text(texts.scenes))
            dropout = PromptDropout(settings.prompt_dropout, prompts, [[settings.seed, 2, epoch, number]])
            masks = [mask[0] for mask in dropout.masks(len(members))]
            both = []
            for which in (0, 1):
                optimizer.zero_grad()
                out = forward(x, *masks)
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
        x = pixels(torch.from_numpy(images[TEST][:, :, 2:34, 2:34].copy()), SHAPE).to(dtype)
        return forward(x)[0].softmax(-1)[:, 0].numpy()


@pytest.mark.parametrize(
    ("train", "rate"),
    [
        *product([("context", "blocks"), ("context",), ("visual_prompts",), ("all",)], [0.0, 0.3]),
        (("context", "visual_prompts"), 0.0),
        (("blocks",), 0.0),
        (("norms",), 0.0),
    ],
)
def test_equals_the_plain_recipe(world, train, rate):
    """In float64: rounding of float32 grows in training, and differs between processors. The rate is exact in float32."""
    exact = (backbone(torch.float64), {n: t.double() for n, t in world[1].items()}, *world[2:])
    change = {"prompt_dropout": rate, "learning_rate": 0.0625}
    expected = plain_recipe(exact, Adapt(**SETTINGS | change), train)
    np.testing.assert_allclose(run(exact, train=train, **change).scores, expected, rtol=0, atol=1e-10)


def test_dropout_is_of_the_prompts_and_of_training_alone(world):
    assert run(world, prompt_dropout=0.3).scores.tobytes() != run(world).scores.tobytes()
    untrained = [run(world, prompt_dropout=rate, learning_rate=1e-30).scores for rate in (0.3, 0.0)]
    assert (untrained[0] == untrained[1]).all(), "test images are scored without it"
    blank = job(world, prompts={n: t for n, t in world[1].items() if n == "ctx"})
    found = [
        finetune(world[0], world[2], tune(), Adapt(**SETTINGS | {"prompt_dropout": rate}), [blank])[0]
        for rate in (0.3, 0.0)
    ]
    assert found[0].scores.tobytes() == found[1].scores.tobytes(), "without visual prompts there is nothing to drop"
    dropped = Adapt(**SETTINGS | {"prompt_dropout": 0.3})
    first = [loop.Finetuner(world[0], world[2], tune(), dropped, [j]).first_changing for j in (job(world), blank)]
    assert first == [0, 2], "its features can be kept"


def test_history_and_what_changes_the_scores(world):
    one = run(world)
    assert [h["epoch"] for h in one.history] == [0, 1, 2, 3]
    assert all(0 < h["angle_deg"] < 180 for h in one.history)
    assert run(world, seed=8).scores.tobytes() != one.scores.tobytes()
    assert not np.allclose(run(world, rule="none").scores, one.scores)


def test_cache_changes_no_byte(world):
    """Without one, and with one that is full before every crop is in it."""
    assert len({run(world, cache_gb=room).scores.tobytes() for room in (1.0, 0.0, 3e-5)}) == 1


def test_learns_the_labels(world):
    history = run(world, rule="none", epochs=40).history
    assert history[-1]["task_loss"] < history[0]["task_loss"] - 0.01


def test_angle_can_be_looked_at_less_often(world):
    often, seldom = run(world, rule="none"), run(world, rule="none", angle_every=3)
    assert often.scores.tobytes() == seldom.scores.tobytes()
    assert [bool(np.isnan(h["angle_deg"])) for h in seldom.history] == [False, True, True, False]


def test_trained_values_are_counted(world):
    tuned, frozen = loop.split_tuned(world[0].weights | world[1], loop.tuned_names(SHAPE, ("context", "blocks"), 1))
    assert run(world).trained_values == sum(t.numel() for t in tuned.values())
    assert {"ctx", "ln_final.weight", "visual.ln_post.bias", "transformer.resblocks.2.ln_1.bias"} <= set(tuned)
    assert {"visual.proj", "visual.prompt_embeddings", "visual.transformer.resblocks.1.ln_1.bias"} <= set(frozen)


def test_published_number_of_trained_values(monkeypatch):
    monkeypatch.setattr(weights, "value", lambda name, size: torch.empty(size, device="meta"))
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
    assert sum(reads) == PADDED


def test_published_selection_reads_the_test_side(world):
    images = Recorder(world[3])
    run(world, images=images, select="test", cache_gb=0.0)
    assert sum(r in TEST for r in images.seen) == 3 * PADDED  # before training, and every second of four epochs


def test_equal_labels_have_no_scale_and_lie_in_the_middle(world):
    equal = run(world, quality=np.full(21, 0.3), label_scale="set")
    assert equal.failure is None
    assert np.array_equal(equal.scores, run(world, quality=np.full(21, 0.5)).scores)


def test_a_method_that_trains_nothing_is_refused(world):
    with pytest.raises(UserError, match="this method trains nothing"):
        run(world, train=["blocks"], tuned_blocks=0)


def test_loss_that_is_not_finite_names_the_place(world):
    quality = world[4].copy()
    quality[TRAIN[0]] = np.inf
    failure = run(world, quality=quality).failure
    assert re.fullmatch(r"loss is not finite at epoch 0, batch \d, learning rate 0.05", failure)


@pytest.mark.parametrize(("momentum", "weight_decay"), [(0.0, 0.0), (0.0, 0.1), (0.9, 0.0), (0.9, 0.1)])
def test_step_is_that_of_torch_with_a_rate_for_each_split(momentum, weight_decay):
    generator, rates = torch.Generator().manual_seed(0), torch.tensor([0.1, 0.003])
    start = {n: torch.randn((2, *size), generator=generator) for n, size in (("w", (3, 4)), ("b", (3,)))}
    ours, velocity = {n: t.clone() for n, t in start.items()}, {}
    theirs = [{n: t[i].clone().requires_grad_() for n, t in start.items()} for i in range(2)]
    options = {"momentum": momentum, "weight_decay": weight_decay}
    optimizers = [torch.optim.SGD(p.values(), lr=float(r), **options) for p, r in zip(theirs, rates, strict=True)]
    for _ in range(3):
        gradients = {n: torch.randn(t.shape, generator=generator) for n, t in start.items()}
        sgd_step(ours, gradients, velocity, rates, momentum, weight_decay)
        for i, optimizer in enumerate(optimizers):
            for n, t in theirs[i].items():
                t.grad = gradients[n][i]
            optimizer.step()
    for i, p in enumerate(theirs):
        for n, t in p.items():
            torch.testing.assert_close(ours[n][i], t.detach())


# ------------------------------------------------------------------------------------------- several splits as one batch

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


def together_and_alone(world, dtype=torch.float64, rule="published", train=("context", "blocks"), own=False, **change):
    three = jobs(world, dtype, own)
    arguments = backbone(dtype), world[2], tune(rule, train), Adapt(**SETTINGS | change)
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


@pytest.mark.parametrize("train", [("context",), ("visual_prompts",), ("lora",), ("all",)])
def test_equal_numbers_whatever_is_trained(world, train):
    assert_equal(*together_and_alone(world, train=train, epochs=2), atol=1e-10)


@pytest.mark.parametrize(
    "change",
    [
        {"momentum": 0.9},
        {"batch": 4, "batches": "remainder"},
        {"crops": "batch", "views": 0},
        {"cache_gb": 1e-4},
        {"label_scale": "set"},
        {"prompt_dropout": 0.2},
    ],
)
def test_equal_numbers_under_other_settings(world, change):
    assert_equal(*together_and_alone(world, **change), atol=1e-10)


@pytest.mark.parametrize("train", [("context", "blocks"), ("context", "visual_prompts")])
def test_splits_with_prompts_of_their_own(world, train):
    together, alone = together_and_alone(world, train=train, own=True)
    assert_equal(together, alone, atol=1e-10)
    arguments = backbone(torch.float64), world[2], tune(train=train), Adapt(**SETTINGS)
    assert not np.allclose(together[1].scores, finetune(*arguments, jobs(world)[1:2])[0].scores)


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
    arguments = backbone(torch.float64), world[2], tune(), Adapt(**SETTINGS)
    found = finetune(*arguments, three)
    assert "epoch 0" in found[1].failure
    assert_equal(found[::2], alone(*arguments, three[::2]), atol=1e-10)


def test_different_numbers_of_labels_do_not_share_a_batch(world):
    three = jobs(world)
    three[0] = replace(three[0], train=replace(three[0].train, rows=three[0].train.rows[:5]))
    arguments = backbone(torch.float64), world[2], tune(), Adapt(**SETTINGS), three
    assert_equal(finetune(*arguments), alone(*arguments), atol=1e-10)


def test_alone_is_bit_identical_whatever_came_before(world):
    arguments, three = (world[0], world[2], tune(), Adapt(**SETTINGS)), jobs(world, torch.float32)
    forth, back = alone(*arguments, three), alone(*arguments, three[::-1])[::-1]
    assert [o.scores.tobytes() for o in forth] == [o.scores.tobytes() for o in back]
    assert [o.history for o in forth] == [o.history for o in back]


def test_another_teacher_changes_the_semantic_loss_alone(world):
    own = job(world)
    other = replace(own, teacher={n: t * 1.1 for n, t in world[0].weights.items()})
    settings = Adapt(**SETTINGS | {"epochs": 1, "batch": 9})
    a, b = (finetune(world[0], world[2], tune(), settings, [j])[0].history[0] for j in (own, other))
    assert a["task_loss"] == b["task_loss"]
    assert a["semantic_loss"] != b["semantic_loss"]


@pytest.mark.parametrize(("run", "train"), [(alone, ("context", "blocks")), (finetune, ("lora",))])
def test_kept_tensors_are_the_adapted_clip(world, run, train):
    settings = Adapt(**SETTINGS)
    three = [replace(j, keep=True) for j in jobs(world, torch.float32, own_prompts=True)]
    found = run(world[0], world[2], tune(train=train), settings, three)
    for one, outcome in zip(three, found, strict=True):
        clip, pictures = (
            PromptedCLIP(outcome.tensors, SHAPE),
            np.asarray(one.test.images)[one.test.rows][:, :, 2:34, 2:34],
        )
        x = pixels(torch.from_numpy(pictures.copy()), SHAPE)
        scores = clip.quality(x, clip.quality_text(world[2].quality))
        assert not scores.requires_grad
        np.testing.assert_allclose(scores, outcome.scores, atol=1e-5)
    assert finetune(world[0], world[2], tune(), settings, [job(world)])[0].tensors is None


@pytest.mark.parametrize("own", [False, True])
def test_a_store_changes_no_byte(world, own):
    arguments = world[0], world[2], tune(), Adapt(**SETTINGS)
    three, store = jobs(world, torch.float32, own), FeatureStore(arguments[0], 2.0**30)
    kept = [finetune(*arguments, [j], store)[0] for j in three]
    for a, b in zip(kept, alone(*arguments, three), strict=True):
        assert a.scores.tobytes() == b.scores.tobytes()
        assert a.history == b.history
    # the teacher, and the features of one or of three sets of prompts
    assert len(store.caches) == (4 if own else 2)
    computed = {key: len(cache.kept) for key, cache in store.caches.items()}
    assert [finetune(*arguments, [j], store)[0].history for j in three] == [k.history for k in kept]
    assert {key: len(cache.kept) for key, cache in store.caches.items()} == computed, "everything was there"


@pytest.mark.parametrize("own", [False, True])
def test_test_features_are_kept_if_splits_share_them(world, own, monkeypatch):
    arguments, made = (world[0], world[2], tune(), Adapt(**SETTINGS)), []
    monkeypatch.setattr(loop, "FeatureStore", lambda clip, room: made.append(room) or FeatureStore(clip, room))
    loop.Finetuner(*arguments, jobs(world, torch.float32, own))
    assert made == ([2.0**30, 0.0] if own else [2.0**29, 2.0**29])


def test_features_of_a_stem_are_neither_cropped_nor_flipped(world):
    features = np.random.default_rng(0).normal(size=(21, 5, 4, 4)).astype(np.float32)
    patches = {"visual.conv1.weight": torch.randn(64, 5, 1, 1, generator=torch.Generator().manual_seed(0)) / 5}
    clip = replace(world[0], weights=world[0].weights | patches)
    store = FeatureStore(clip, 2.0**30)
    finetune(clip, world[2], tune(), Adapt(**SETTINGS | {"views": 4}), [job(world, features)], store)
    crops_of = {key[0]: set(cache.kept) for key, cache in store.caches.items()}
    assert crops_of["teacher"] == {(row, 0, 0, False) for row in TRAIN}


def test_train_and_test_of_two_databases(world):
    elsewhere = np.random.default_rng(0).integers(0, 256, (6, 3, 36, 36), dtype=np.uint8)
    own = job(world)
    apart = replace(own, test=Subset(elsewhere, np.zeros(6), np.arange(6)))
    settings = Adapt(**SETTINGS)
    a, b = (finetune(world[0], world[2], tune(), settings, [j])[0] for j in (own, apart))
    assert a.history == b.history
    assert len(b.scores) == 6
    assert len(a.scores) == len(TEST)
