"""The student of a fine-tuned CLIP."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy.stats import spearmanr

from grmp.errors import UserError
from grmp.methods import distill
from grmp.params import Fit

CPU = torch.device("cpu")
FIT = Fit(epochs=40, learning_rate=3e-3, weight_decay=1e-2, batch=8)
TRAIN, TEST = np.arange(24), np.arange(24, 60)


def srcc(scores, quality):
    return spearmanr(scores, quality)[0]


def run_student(bright, scores, settings=FIT, seed=(7, 2)):
    ctx = SimpleNamespace(source=SimpleNamespace(images=bright[1]), backbone=bright[0], device=CPU)
    student, result = distill.learn(ctx, TRAIN, scores, settings, seed)
    return bright[0].map(student, bright[1], TEST, 256).numpy(), result


def test_student_learns_from_the_teachers_scores_and_repeats_its_bytes(bright):
    scores = bright[2][TRAIN]
    (one, result), (two, _) = run_student(bright, scores), run_student(bright, scores)
    history = result.history
    assert one.tobytes() == two.tobytes()
    assert history[-1]["task_loss"] < history[0]["task_loss"] / 2
    backwards, _ = run_student(bright, 1 - scores)
    assert srcc(one, bright[2][TEST]) > 0.8
    assert srcc(backwards, bright[2][TEST]) < -0.8  # the scores alone say what it learns
    assert result.trained_values == 97_569


def test_features_are_no_pixels():
    features = SimpleNamespace(images=np.zeros((2, 896, 7, 7), np.float32))
    with pytest.raises(UserError, match="learns from pixels"):
        distill.prepare(SimpleNamespace(source=features), None)
