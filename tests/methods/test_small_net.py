"""Small networks beside CLIP: seeded start, fixed schedule, the attention panel and the student."""

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from grmp.clip.model import Backbone, PromptedCLIP, image_embedding, pixels
from grmp.methods import distill, panel
from grmp.methods.panel import Panel
from grmp.methods.small_net import fit, fresh, trained_values
from grmp.params import Fit
from tests.golden import weights
from tests.worlds import SHAPE

CPU = torch.device("cpu")
FIT = Fit(epochs=40, learning_rate=3e-3, weight_decay=1e-2, batch=8)
PANEL = Panel(kind="panel", label="", members=3, width=16, heads=2, views=2, fit=FIT)
TRAIN, TEST = np.arange(24), np.arange(24, 60)


@pytest.fixture(scope="module")
def world():
    """A small seeded backbone, and noise pictures whose brightness is their quality."""
    rng = np.random.default_rng(3)
    quality = rng.uniform(size=60)
    images = np.clip(rng.normal(60 + 130 * quality[:, None, None, None], 20, (60, 3, 36, 36)), 0, 255).astype(np.uint8)
    return Backbone(SHAPE, weights.clip_weights(SHAPE), "seeded"), images, quality


def build():
    return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1), nn.Flatten(0))


def test_start_is_seeded_and_leaves_the_global_generator_alone():
    state = torch.get_rng_state()
    one, two, other = (fresh(build, torch.Generator().manual_seed(s), CPU).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])
    assert one["0.bias"].abs().max() == 0
    assert torch.equal(one["1.weight"], torch.ones(4))


def test_fit_finds_a_linear_truth_and_its_rate_falls_to_nothing():
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    truth = x @ torch.tensor([0.5, -1.0, 2.0])
    model = fresh(lambda: nn.Sequential(nn.Linear(3, 1), nn.Flatten(0)), torch.Generator().manual_seed(1), CPU)
    settings = Fit(epochs=200, learning_rate=0.05, weight_decay=0.0, batch=16)
    history = fit(model, lambda members, epoch: x[members], truth, settings, (1, 2)).history
    assert history[-1]["task_loss"] < 1e-5 < history[0]["task_loss"]
    assert torch.allclose(model[0].weight[0], torch.tensor([0.5, -1.0, 2.0]), atol=0.01)
    assert [h["epoch"] for h in history] == list(range(200))
    assert history[0]["learning_rate"] == 0.05
    assert history[-1]["learning_rate"] < 1e-5
    assert trained_values(model) == 4


def test_loss_that_is_not_finite_names_the_place():
    model = fresh(build, torch.Generator().manual_seed(1), CPU)
    targets = torch.tensor([0.0, float("nan"), 1.0])
    settings = Fit(epochs=2, learning_rate=0.5, weight_decay=0.0, batch=4)
    found = fit(model, lambda members, epoch: torch.zeros(len(members), 3), targets, settings, (1,))
    assert found.failure == "loss is not finite at epoch 0, batch 0, learning rate 0.5"


def test_all_tokens_agree_with_the_embedding(world):
    backbone, images, _ = world
    x = pixels(torch.from_numpy(images[:4, :, :32, :32].copy()), SHAPE)
    tokens = PromptedCLIP(backbone.weights, SHAPE).tokens(x)
    assert tokens.shape == (4, 17, 64)
    embedding = nn.functional.normalize(tokens[:, 0] @ backbone.weights["visual.proj"], dim=-1)
    torch.testing.assert_close(embedding, image_embedding(backbone.weights, x, SHAPE))


def test_panel_is_the_mean_of_its_members_and_blind_to_the_order_of_patches():
    decoder = fresh(lambda: panel.decoder(12, 8, 5, 2), torch.Generator().manual_seed(0), CPU)
    tokens = torch.randn(3, 7, 12, generator=torch.Generator().manual_seed(1))
    opinions = decoder.of_members(tokens)
    assert opinions.shape == (3, 5)
    assert opinions.std(1).min() > 1e-3  # members differ
    torch.testing.assert_close(decoder(tokens), opinions.mean(1))
    shuffled = torch.cat([tokens[:, :1], tokens[:, [4, 2, 6, 1, 3, 5]]], 1)
    torch.testing.assert_close(decoder(shuffled), decoder(tokens))
    assert not torch.allclose(decoder(tokens.roll(1, 1)), decoder(tokens))  # the class token is not a patch


def run_panel(world, method=PANEL, seed=(7, 2), quality=None):
    backbone, images, own = world
    return panel.train_and_score(
        backbone, method, images, own if quality is None else quality, TRAIN, images, TEST, seed
    )


def srcc(scores, quality):
    return spearmanr(scores, quality)[0]


def test_panel_learns_and_repeats_its_bytes(world):
    labels = world[2].copy()
    labels[TEST] = np.nan  # nothing may depend on the test labels
    one, two = run_panel(world, quality=labels), run_panel(world)
    assert one.scores.tobytes() == two.scores.tobytes()
    assert one.history == two.history
    idle = PANEL.model_copy(update={"fit": FIT.model_copy(update={"learning_rate": 1e-12})})
    np.testing.assert_allclose(run_panel(world, idle).scores, world[2][TRAIN].mean(), atol=1e-6)
    assert srcc(one.scores, world[2][TEST]) > 0.7
    assert one.trained_values == 64 * 16 + 16 + 3 * 16 + 2 * (4 * 16 * 17) + 2 * 16 * 64 + 64 + 16 + 3 * 32 + 17
    assert run_panel(world, seed=(7, 3)).scores.tobytes() != one.scores.tobytes()


def test_panel_stops_where_a_label_is_not_finite(world):
    labels = world[2].copy()
    labels[TRAIN[3]] = np.inf
    assert "epoch 0, batch 0, learning rate" in run_panel(world, quality=labels).failure


def run_student(world, scores, settings=FIT, seed=(7, 2)):
    student, result = distill.learn(world[1], TRAIN, scores, SHAPE, settings, seed, CPU)
    return distill.predict(student, world[1], TEST, SHAPE, CPU), result.history, student


def test_student_learns_from_the_teachers_scores_and_repeats_its_bytes(world):
    scores = world[2][TRAIN]
    (one, history, student), (two, _, _) = run_student(world, scores), run_student(world, scores)
    assert one.tobytes() == two.tobytes()
    assert history[-1]["task_loss"] < history[0]["task_loss"] / 2
    backwards, _, _ = run_student(world, 1 - scores)
    assert srcc(one, world[2][TEST]) > 0.8
    assert srcc(backwards, world[2][TEST]) < -0.8  # the scores alone say what it learns
    assert trained_values(student) == 97_569
