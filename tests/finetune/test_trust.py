"""Intervals, percentiles and predicted ratings, against known answers."""

import numpy as np
import pytest

from grmp.data.scale import Scale
from grmp.finetune.trust import judge, measure


def test_the_interval_covers_as_often_as_promised():
    """The guarantee of split conformal prediction, over many draws of 50 calibration images and 50 others."""
    rng, covered = np.random.default_rng(0), []
    for _ in range(400):
        truth = rng.uniform(size=100)
        scores = np.clip(0.5 + 0.6 * (truth - 0.5) + rng.normal(0, 0.1, 100), 0, 1)  # biased towards the middle
        card = measure(truth[:50], scores[:50], "")
        found = judge(card, Scale(0, 1, True), scores[50:])
        covered.append(np.mean((found["low"] <= truth[50:]) & (truth[50:] <= found["high"])))
    assert np.mean(covered) == pytest.approx(46 / 51, abs=0.01)  # ceil(0.9 * 51) of 51 places


def test_few_images_promise_nothing():
    card = measure(np.linspace(0, 1, 8), np.linspace(0, 1, 8), "")
    found = judge(card, Scale(1, 5, True), np.array([0.5]))
    assert (found["low"], found["high"]) == (1, 5)


@pytest.mark.parametrize(("higher", "rating"), [(True, 2), (False, 4)])
def test_ratings_are_on_the_scale_of_the_user(higher: bool, rating: float):
    card = {"errors": [0.0] * 8 + [0.125, 0.2], "percentiles": [0, *[0.25] * 99, 1]}
    found = judge(card, Scale(1, 5, higher), np.array([0.25, np.nan]))
    assert found["predicted_rating"][0] == rating
    assert (found["low"][0], found["high"][0]) == (rating - 0.8, rating + 0.8)  # the 10th of 10 errors
    assert np.isnan([column[1] for column in found.values()]).all()


def test_the_percentile_is_the_share_of_known_images_that_score_less():
    known = np.random.default_rng(0).uniform(size=1000)
    found = judge(measure(known, known, ""), Scale(0, 1, True), np.array([0.0, 0.3, 1.0]))
    assert found["percentile"] == pytest.approx([0, 100 * np.mean(known < 0.3), 100], abs=1)
