"""Scores against values worked out by hand or by another route, and every way a prediction can be bad."""

import numpy as np
import pytest
from scipy.io import loadmat
from scipy.stats import pearsonr, t

from grmp.metrics import (
    METRICS,
    corrected_t,
    correlations,
    draw,
    fit_logistic,
    holm,
    interval,
    logistic,
    scores,
    srcc,
    two_way,
)

RNG_SEED = 5


def sample(n: int = 200, noise: float = 0.05) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(RNG_SEED)
    quality = rng.random(n)
    return quality, quality + rng.normal(0, noise, n)


def test_hand_worked_ranks():
    quality, score = [0.1, 0.2, 0.3, 0.4, 0.5], [1, 3, 2, 5, 4]
    found = scores(quality, score, 0, 1)
    assert found["srcc"] == pytest.approx(1 - 6 * 4 / (5 * 24))  # 1 - 6 sum d^2 / n(n^2-1), d = 0,1,1,1,1
    assert found["krcc"] == pytest.approx((8 - 2) / 10)  # two of ten pairs are discordant
    assert found["plcc"] == pytest.approx(0.8)  # equal steps on both sides: the Pearson of the ranks


def test_fit_recovers_the_curve_it_was_drawn_from():
    x = np.linspace(0.49, 0.51, 80)  # as narrow as a softmax at temperature 1
    truth = (0.95, 0.1, 0.502, 0.002)
    quality = logistic(x, *truth)
    assert fit_logistic(quality, x) == pytest.approx(truth, rel=1e-4)
    found = scores(quality, x, 0, 100)
    assert found["status"] == "ok"
    assert found["plcc_fit"] == pytest.approx(1, abs=1e-9)
    assert found["rmse"] == pytest.approx(0, abs=1e-4)
    assert found["plcc"] < 0.995  # what the fit is for


def test_rmse_is_in_the_units_of_the_database():
    quality, score = sample()
    assert scores(quality, score, 0, 100)["rmse"] == pytest.approx(100 * scores(quality, score, 0, 1)["rmse"])
    assert scores(quality, score, 100, 0)["rmse"] == scores(quality, score, 0, 100)["rmse"]  # DMOS
    assert scores(quality, score, 0, 100)["rmse"] == pytest.approx(5, rel=0.15)  # the noise put in


def test_scale_and_monotone_maps_change_nothing():
    quality, score = sample()
    plain, scaled, bent = (scores(quality, s, 0, 1) for s in (score, 1e-3 * score + 0.5, np.exp(score)))
    for metric in METRICS:
        assert scaled[metric] == pytest.approx(plain[metric], abs=1e-6), metric
    assert bent["srcc"] == plain["srcc"]
    assert bent["plcc"] != pytest.approx(plain["plcc"], abs=1e-3)


def test_predictions_against_quality_are_named():
    quality, score = sample()
    found = scores(quality, -score, 0, 1)
    assert found["srcc"] < -0.9
    assert found["plcc"] < -0.9
    assert "decreases" in found["status"]
    assert np.isnan(found["plcc_fit"])
    assert np.isnan(found["rmse"])


def test_two_ratings_are_fitted_without_a_warning():
    score = np.linspace(0, 1, 50)
    assert scores((score > 0.5) * 1.0, score, 0, 1)["plcc_fit"] == pytest.approx(1)


def test_the_fit_is_at_least_as_good_as_a_line():
    rng = np.random.default_rng(0)
    for _ in range(150):
        n, noise = int(rng.integers(20, 120)), rng.uniform(0.05, 2)
        quality = rng.random(n)
        found = scores(quality, quality + rng.normal(0, noise, n), 0, 1)
        assert not found["plcc_fit"] < abs(found["plcc"]) - 1e-3


def test_corrected_t_is_wider_than_the_plain_one():
    """Four splits, by hand: mean 0.025, variance 1/6000, n_test / n_train = 1/4."""
    found = corrected_t([0.01, 0.02, 0.03, 0.04], 0.95, 0.2)
    error = np.sqrt((1 / 4 + 1 / 4) / 6000)
    assert found["high"] - 0.025 == pytest.approx(3.182446 * error, rel=1e-5)
    assert found["p"] == pytest.approx(2 * t.sf(0.025 / error, 3))
    few = corrected_t([0.01, 0.02, 0.03, 0.04], 0.95, 0.2, 0.1)  # a tenth of the training side: n_test / n_train = 2.5
    assert few["high"] - 0.025 == pytest.approx(3.182446 * np.sqrt((1 / 4 + 2.5) / 6000), rel=1e-5)
    assert np.isnan(corrected_t([0.1, np.nan], 0.95, 0.2)["p"])


def test_correlations_count_images_as_often_as_they_are_drawn():
    rng = np.random.default_rng(0)
    quality, score = rng.integers(0, 6, 40) / 5, rng.random(40).round(1)  # ties in both
    weights = draw(np.arange(40) // 2, 20, [0])
    assert (weights[:, ::2] == weights[:, 1::2]).all()  # images of a source come together
    assert (weights[:, ::2].sum(axis=1) == 20).all()
    found = {metric: correlations(quality, score, weights, metric) for metric in ("srcc", "plcc")}
    for b, weight in enumerate(weights.astype(int)):
        q, s = np.repeat(quality, weight), np.repeat(score, weight)
        assert found["srcc"][b] == pytest.approx(srcc(q, s)[0], abs=1e-5)
        assert found["plcc"][b] == pytest.approx(pearsonr(q, s).statistic, abs=1e-5)
    assert np.isnan(correlations(quality, np.ones(40), weights, "srcc")).all()


def test_two_way_interval_by_hand():
    """Variance of the splits 1/6000/4 and of the images 1/6000, three and nine degrees of freedom."""
    images = 0.025 + np.array([-1, 1]) / np.sqrt(12000)
    found = two_way([0.01, 0.02, 0.03, 0.04, np.nan], images, 10, 0.95)
    freedom = 1.25**2 / (0.25**2 / 3 + 1 / 9)
    error = np.sqrt(1.25 / 6000)
    assert found["high"] - found["low"] == pytest.approx(2 * t.ppf(0.975, freedom) * error)
    assert found["p"] == pytest.approx(2 * t.sf(0.025 / error, freedom))
    runs = two_way([0.01, 0.05, 0.02, 0.06, 0.03], images, 10, 0.95, 2)  # of pre-training: splits 0, 2, 4 and 1, 3
    between = 2 * ((0.06 - 3 * 0.034) ** 2 + (0.11 - 2 * 0.034) ** 2) / 5**2
    total = between + 1 / 6000
    half = t.ppf(0.975, total**2 / (between**2 + 1 / 6000**2 / 9)) * np.sqrt(total)
    assert (runs["low"], runs["high"]) == pytest.approx((0.034 - half, 0.034 + half))
    alike = 0.025 + 1e-4 * np.array([1, 1, 1, -1, -1, -1])  # runs that happen to agree: splits 0, 2, 4 and 1, 3, 5
    apart = alike + 0.01 * np.array([1, 1, -1, -1, 0, 0])
    assert two_way(apart, images, 10, 0.95, 2) == two_way(apart, images, 10, 0.95), "never narrower than without runs"
    assert two_way([0.0, 0.0], np.zeros(9), 10, 0.95) == {"low": 0, "high": 0, "p": 1}  # the same predictions
    assert np.isnan(two_way([0.1], images, 10, 0.95)["p"])


@pytest.mark.parametrize(
    ("score", "status"),
    [
        (np.full(20, 0.5), "constant predictions"),
        (np.nextafter(np.full(20, 0.5, np.float32), np.arange(20) % 2, dtype=np.float32), "constant predictions"),
        (1e-10 * np.random.default_rng(0).random(20), "constant predictions"),
        (1e6 + 1e-6 * np.random.default_rng(0).random(20), "constant predictions"),
        (np.where(np.arange(20) == 3, np.nan, np.arange(20.0)), "1 of 20 predictions are not finite"),
        (np.where(np.arange(20) < 3, np.inf, np.arange(20.0)), "3 of 20 predictions are not finite"),
    ],
)
def test_bad_predictions_are_said_to_be_what_they_are(score, status):
    found = scores(np.linspace(0, 1, 20), score, 0, 1)
    assert found["status"] == status
    assert all(np.isnan(found[m]) for m in METRICS)


def test_too_few_pictures_and_constant_opinions():
    assert scores([0.1, 0.2, 0.3, 0.4], [1, 2, 3, 4], 0, 1)["status"] == "4 test images, fewer than 5"
    assert scores(np.full(9, 0.5), np.arange(9), 0, 1)["status"] == "constant ratings"
    assert scores([], [], 0, 1)["status"].startswith("0 test images")


def test_real_opinions(shared):
    """LIVE Challenge's opinions, predicted with a known error."""
    path = shared / "real/clive/ChallengeDB_release/Data/AllMOS_release.mat"
    mos = loadmat(path)["AllMOS_release"].ravel()
    rng = np.random.default_rng(RNG_SEED)
    found = scores(mos / 100, mos + rng.normal(0, 10, len(mos)), 0, 100)
    assert found["status"] == "ok"
    assert found["rmse"] == pytest.approx(9, abs=1)  # a little under the noise: 10 on a spread of 21
    assert found["srcc"] == pytest.approx(0.9, abs=0.03)


def test_interval_holds_its_median_and_repeats():
    values = np.random.default_rng(1).normal(0.7, 0.05, 10)
    one, two = (interval(values, 0.95, 2000, 7) for _ in range(2))
    assert one == two
    assert one["median_low"] <= one["median"] <= one["median_high"]
    assert values.min() <= one["median_low"]
    assert one["median_high"] <= values.max()
    assert one["mean_high"] - one["mean_low"] == pytest.approx(2 * 1.96 * values.std() / np.sqrt(10), rel=0.1)
    narrower = interval(values, 0.5, 2000, 7)
    assert narrower["mean_high"] - narrower["mean_low"] < one["mean_high"] - one["mean_low"]


def test_interval_counts_what_is_missing():
    found = interval([0.5, np.nan, 0.7], 0.95, 200, 0)
    assert (found["splits"], found["scored"], found["median"]) == (3, 2, pytest.approx(0.6))
    alone = interval([0.5], 0.95, 200, 0)
    assert alone["median"] == 0.5
    assert np.isnan([alone["median_low"], alone["sd"]]).all()
    nothing = interval([np.nan, np.nan], 0.95, 200, 0)
    assert nothing["scored"] == 0
    assert np.isnan([nothing["median"], nothing["mean"]]).all()


def test_equal_values_have_an_interval_of_no_width():
    found = interval([0.5] * 5, 0.95, 200, 0)
    assert (found["median_low"], found["median_high"], found["sd"]) == (0.5, 0.5, 0)


def test_holm_by_hand():
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])  # 3 x 0.01; 2 x 0.03; 0.04 may not be below
    assert holm([0.5, 0.6]) == [1.0, 1.0]
    values = holm([0.01, float("nan"), 0.02])
    assert values[0] == pytest.approx(0.02)
    assert np.isnan(values[1])
    assert holm([]) == []
