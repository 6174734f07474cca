"""The student of a fine-tuned CLIP."""

from types import SimpleNamespace

import numpy as np
import pytest
from scipy.stats import spearmanr

from grmp.errors import UserError
from grmp.methods import distill
from tests.methods.conftest import CPU, FIT, TEST, TRAIN


def test_student_learns_from_the_teachers_scores_and_repeats_its_bytes(bright):
    backbone, images, quality = bright
    ctx = SimpleNamespace(source=SimpleNamespace(images=images), backbone=backbone, device=CPU)

    def student(scores):
        network, result = distill.learn(ctx, TRAIN, scores, FIT, (7, 2))
        return backbone.map(network, images, TEST, 256).numpy(), result

    (one, result), (two, _), (backwards, _) = map(student, (quality[TRAIN], quality[TRAIN], 1 - quality[TRAIN]))
    history = result.history
    assert one.tobytes() == two.tobytes()
    assert history[-1]["task_loss"] < history[0]["task_loss"] / 2
    assert spearmanr(one, quality[TEST])[0] > 0.8
    assert spearmanr(backwards, quality[TEST])[0] < -0.8  # the scores alone say what it learns
    assert result.trained_values == 97_569


def test_features_are_no_pixels():
    features = SimpleNamespace(images=np.zeros((2, 896, 7, 7), np.float32))
    with pytest.raises(UserError, match="learns from pixels"):
        distill.prepare(SimpleNamespace(source=features), None)
