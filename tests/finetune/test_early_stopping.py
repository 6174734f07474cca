"""The published search on the test images: best scores, falling rate, end."""

from types import SimpleNamespace

import numpy as np
import pytest

from grmp.finetune.early_stopping import FACTOR, EarlyStopping

QUALITY = np.array([0.1, 0.4, 0.5, 0.9])
GOOD, BAD = QUALITY * 2, QUALITY[::-1]


def stopping(rate=1e-3, patience=2):
    return EarlyStopping(SimpleNamespace(learning_rate=rate, patience=patience), QUALITY)


def test_keeps_the_best_scores():
    search = stopping()
    for epoch, scores in enumerate([BAD, GOOD, BAD], start=-1):
        assert not search.update(scores, epoch)
    assert np.array_equal(search.best, GOOD)
    assert search.rate == 1e-3


def test_scores_without_a_correlation_are_kept_only_if_there_are_no_others():
    search, constant = stopping(), np.ones(4)
    with pytest.warns(match="constant"):
        search.update(constant, -1)
    assert search.best is constant
    search.update(GOOD, 0)
    assert np.array_equal(search.best, GOOD)


def test_the_rate_falls_after_epoch_10_and_training_stops_below_the_lowest():
    search = stopping(rate=2e-6)
    search.update(GOOD, -1)
    for epoch in range(11):
        assert not search.update(BAD, epoch)
    assert search.rate == 2e-6  # it has waited long enough, but not until epoch 11
    assert not search.update(None, 11)
    assert search.rate == pytest.approx(FACTOR * 2e-6)
    assert not search.update(BAD, 12)  # two evaluations again
    assert search.update(BAD, 13)
    assert np.array_equal(search.best, GOOD)
