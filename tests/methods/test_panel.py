"""The attention panel."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr
from torch import nn

from grmp.clip.model import PromptedCLIP, pixels
from grmp.finetune.feature_cache import FeatureStore
from grmp.methods import panel
from grmp.methods.panel import Panel
from grmp.methods.small_net import fresh
from tests.methods.conftest import CPU, FIT, TEST, TRAIN
from tests.worlds import SHAPE

PANEL = Panel(kind="panel", label="", members=3, width=16, heads=2, views=2, fit=FIT)


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


def test_panel_learns_and_repeats_its_bytes(bright):
    backbone, images, quality = bright

    def run(method=PANEL, split=2, labels=quality):
        splits = SimpleNamespace(train=lambda split, shots: TRAIN, test=lambda split: TEST)
        ctx = SimpleNamespace(
            **{"source": images, "target": images, "inputs": lambda images: images, "backbone": backbone},
            **{"quality": labels, "splits": splits, "tested": splits, "shots": 24, "device": CPU, "features": None},
            params=SimpleNamespace(adapt=SimpleNamespace(seed=7)),
        )
        (found,) = panel.prepare(ctx, method)([split])
        return found

    labels = quality.copy()
    labels[TEST] = np.nan  # nothing may depend on the test labels
    one, two = run(labels=labels), run()
    assert one.scores.tobytes() == two.scores.tobytes()
    assert one.history == two.history
    idle = PANEL.model_copy(update={"fit": FIT.model_copy(update={"learning_rate": 1e-12})})
    np.testing.assert_allclose(run(idle).scores, quality[TRAIN].mean(), atol=1e-6)
    assert spearmanr(one.scores, quality[TEST])[0] > 0.7
    assert one.trained_values == 64 * 16 + 16 + 3 * 16 + 2 * (4 * 16 * 17) + 2 * 16 * 64 + 64 + 16 + 3 * 32 + 17
    assert run(split=3).scores.tobytes() != one.scores.tobytes()


def test_a_store_keeps_tokens_for_later_splits(bright, monkeypatch):
    backbone, images, quality = bright
    splits = SimpleNamespace(train=lambda split, shots: TRAIN, test=lambda split: TEST)
    ctx = SimpleNamespace(
        **{"source": images, "target": images, "inputs": lambda images: images, "backbone": backbone},
        **{"quality": quality, "splits": splits, "tested": splits, "shots": 24, "device": CPU, "features": None},
        params=SimpleNamespace(adapt=SimpleNamespace(seed=7)),
    )
    (plain,) = panel.prepare(ctx, PANEL)([0])
    ctx.features = FeatureStore(backbone, 1e9)
    panel.prepare(ctx, PANEL)([0])
    monkeypatch.setattr(PromptedCLIP, "tokens", lambda *a: pytest.fail("these tokens are kept"))
    (again,) = panel.prepare(ctx, PANEL)([0])
    np.testing.assert_allclose(again.scores, plain.scores, atol=1e-4)
