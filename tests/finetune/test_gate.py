"""The gate: weights add up, and near databases count."""

import numpy as np
import pytest

from grmp.finetune.gate import Gate


@pytest.fixture(scope="module")
def gate() -> Gate:
    """Two databases around two corners, one of them in two clusters."""
    rng = np.random.default_rng(0)
    corners = {"near": [[0, 0, 1], [0, 1, 0]], "far": [[1, 0, 0]]}
    return Gate.fit({n: np.concatenate([rng.normal(c, 0.05, (20, 3)) for c in cs]) for n, cs in corners.items()}, 2, 0)


def test_an_image_belongs_to_the_database_that_it_resembles(gate: Gate):
    weights = gate.weights(np.array([[0, 0, 1], [0, 1, 0], [1, 0, 0], [0.5, 0.5, 0]]))
    assert weights.sum(axis=1) == pytest.approx(1)
    assert weights[:2, 0] == pytest.approx(1)
    assert weights[2, 1] == pytest.approx(1)


def test_the_weights_are_the_softmax_of_squared_distances():
    gate = Gate({"a": np.array([[0.0, 0.0], [9.0, 9.0]]), "b": np.array([[2.0, 0.0]])}, spread=2.0)
    found = gate.weights(np.array([[0.5, 0.0]]))[0]
    assert found[0] / found[1] == pytest.approx(np.exp((1.5**2 - 0.5**2) / 2))


def test_the_spread_is_the_mean_squared_distance_to_the_own_centroid():
    gate = Gate.fit({"a": np.array([[0.0], [2.0]]), "b": np.array([[5.0], [5.0]])}, clusters=1, seed=0)
    assert gate.spread == pytest.approx((1 + 1 + 0 + 0) / 4)


def test_a_score_is_the_weighted_mean_of_the_models_scores(gate: Gate):
    x, scores = np.array([[0.0, 0, 1], [1, 0, 0]]), {"near": np.array([0.2, 0.3]), "far": np.array([0.8, 0.9])}
    assert gate.score(x, scores) == pytest.approx([0.2, 0.9])
