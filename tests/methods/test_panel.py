"""The attention panel."""

from types import SimpleNamespace

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from grmp.clip.model import (
    PromptedCLIP,
    pixels,
)
from grmp.methods import panel
from grmp.methods.panel import Panel
from grmp.methods.small_net import fresh
from grmp.params import Fit
from tests.worlds import SHAPE

CPU = torch.device("cpu")
FIT = Fit(epochs=40, learning_rate=3e-3, weight_decay=1e-2, batch=8)
PANEL = Panel(kind="panel", label="", members=3, width=16, heads=2, views=2, fit=FIT)
TRAIN, TEST = np.arange(24), np.arange(24, 60)


def test_all_tokens_agree_with_the_embedding(bright):
    backbone, images, _ = bright
    x = pixels(torch.from_numpy(images[:4, :, :32, :32].copy()), SHAPE)
    tokens = PromptedCLIP(backbone.weights, SHAPE).tokens(x)
    assert tokens.shape == (4, 17, 64)
    embedding = nn.functional.normalize(tokens[:, 0] @ backbone.weights["visual.proj"], dim=-1)
    torch.testing.assert_close(embedding, PromptedCLIP(backbone.weights, SHAPE).image(x))


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


def run_panel(bright, method=PANEL, seed=(7, 2), quality=None):
    backbone, images, own = bright
    splits = SimpleNamespace(train=lambda split, shots: TRAIN, test=lambda split: TEST)
    ctx = SimpleNamespace(
        **{"source": images, "target": images, "inputs": lambda images: images, "backbone": backbone, "device": CPU},
        **{"quality": own if quality is None else quality, "splits": splits, "tested": splits, "shots": 24},
        params=SimpleNamespace(adapt=SimpleNamespace(seed=seed[0])),
    )
    (found,) = panel.prepare(ctx, method)([seed[1]])
    return found


def srcc(scores, quality):
    return spearmanr(scores, quality)[0]


def test_panel_learns_and_repeats_its_bytes(bright):
    labels = bright[2].copy()
    labels[TEST] = np.nan  # nothing may depend on the test labels
    one, two = run_panel(bright, quality=labels), run_panel(bright)
    assert one.scores.tobytes() == two.scores.tobytes()
    assert one.history == two.history
    idle = PANEL.model_copy(update={"fit": FIT.model_copy(update={"learning_rate": 1e-12})})
    np.testing.assert_allclose(run_panel(bright, idle).scores, bright[2][TRAIN].mean(), atol=1e-6)
    assert srcc(one.scores, bright[2][TEST]) > 0.7
    assert one.trained_values == 64 * 16 + 16 + 3 * 16 + 2 * (4 * 16 * 17) + 2 * 16 * 64 + 64 + 16 + 3 * 32 + 17
    assert run_panel(bright, seed=(7, 3)).scores.tobytes() != one.scores.tobytes()


def test_panel_stops_where_a_label_is_not_finite(bright):
    labels = bright[2].copy()
    labels[TRAIN[3]] = np.inf
    assert "epoch 0, batch 0, learning rate" in run_panel(bright, quality=labels).failure
