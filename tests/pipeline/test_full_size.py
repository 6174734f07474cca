"""The paper's size: ViT-B/16, 100 prompts, the published protocol, for a few epochs on generated pictures."""

import numpy as np
import pytest
import torch

from bench.work import VIT_B16
from grmp import params
from grmp.clip.model import Backbone, prompted_texts, tokenize
from grmp.data.crops import place
from grmp.finetune.loop import finetune
from grmp.finetune.types import TEACHER_SCENE, SplitData, Subset, Texts
from tests.conftest import ROOT
from tests.golden import weights


@pytest.mark.slow
def test_published_adaptation_at_full_size():
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    under = params.load(ROOT / "params.yaml").under("published")
    few = {"epochs": 2, "evaluate_every": 2, "precision": "float32", "device": device.type}
    settings, rng = under.adapt.model_copy(update=few), np.random.default_rng(0)
    quality = rng.uniform(size=60)
    noise = rng.normal(60 + 130 * quality[:, None, None, None], 20, (60, 3, 244, 244))
    images = place(np.clip(noise, 0, 255).astype(np.uint8), device)
    texts = Texts(
        tokenize(prompted_texts(under.prompts.classes, under.prompts.text_tokens)).to(device),
        tokenize([TEACHER_SCENE.format(s) for s in settings.scenes]).to(device),
    )
    prompts = {n: t.to(device) for n, t in weights.prompts(VIT_B16, under.prompts.visual_tokens).items()}
    sides = (Subset(images, quality, rows) for rows in (np.arange(10), np.arange(10, 60)))
    backbone = Backbone(weights.clip_weights(VIT_B16), VIT_B16, "seeded").to(device)
    (outcome,) = finetune(backbone, texts, under.methods["grmp"], settings, [SplitData(0, prompts, *sides)])
    assert outcome.trained_values == 40_965_632
    assert outcome.scores.shape == (50,)
    assert np.isfinite(outcome.scores).all()
    first, second = outcome.history
    assert first["task_loss"] != second["task_loss"]
    assert all(0 < h["angle_deg"] < 180 for h in outcome.history)
