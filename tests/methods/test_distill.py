"""The student of a fine-tuned CLIP."""

import numpy as np
import torch
from scipy.stats import spearmanr

from grmp.methods import distill
from grmp.methods.small_net import trained_values
from grmp.params import Fit
from tests.worlds import SHAPE

CPU = torch.device("cpu")
FIT = Fit(epochs=40, learning_rate=3e-3, weight_decay=1e-2, batch=8)
TRAIN, TEST = np.arange(24), np.arange(24, 60)


def srcc(scores, quality):
    return spearmanr(scores, quality)[0]


def run_student(bright, scores, settings=FIT, seed=(7, 2)):
    student, result = distill.learn(bright[1], TRAIN, scores, SHAPE, settings, seed, CPU)
    return distill.predict(student, bright[1], TEST, SHAPE, CPU), result.history, student


def test_student_learns_from_the_teachers_scores_and_repeats_its_bytes(bright):
    scores = bright[2][TRAIN]
    (one, history, student), (two, _, _) = run_student(bright, scores), run_student(bright, scores)
    assert one.tobytes() == two.tobytes()
    assert history[-1]["task_loss"] < history[0]["task_loss"] / 2
    backwards, _, _ = run_student(bright, 1 - scores)
    assert srcc(one, bright[2][TEST]) > 0.8
    assert srcc(backwards, bright[2][TEST]) < -0.8  # the scores alone say what it learns
    assert trained_values(student) == 97_569
