"""Ridge regression on embeddings."""

from dataclasses import replace

import numpy as np
from threadpoolctl import threadpool_limits

from grmp import params
from grmp.clip import checkpoints
from grmp.methods import ridge
from grmp.methods.context import embeddings
from tests.methods.conftest import tiny_case


def test_ridge_recovers_a_linear_truth(world):
    """Quality that is linear in the embedding is predicted (nearly) perfectly once K exceeds its dimension."""
    case = tiny_case(params.load(world), world.parent, "pre", 20)
    case = replace(case, backbone=checkpoints.load(world.parent))
    x = embeddings(case, case.source.images).numpy()
    truth = x @ np.eye(x.shape[1])[0]
    case.source.index["quality"] = (truth - truth.min()) / (truth.max() - truth.min())
    (outcome,) = ridge.prepare(case, ridge.Ridge(kind="ridge", label="", alphas=[1e-6]))([0])
    assert np.corrcoef(outcome.scores, case.quality[case.splits.test(0)])[0, 1] > 0.9


def test_a_weight_of_two_is_the_image_twice():
    rng = np.random.default_rng(0)
    x, y, twice = rng.normal(size=(12, 4)), rng.uniform(size=12), np.array([0, *range(12)])
    method = ridge.Ridge(kind="ridge", label="", alphas=[0.3])
    weights, intercept = ridge.fit(x, y, method, np.bincount(twice).astype(float))
    expected, at = ridge.fit(x[twice], y[twice], method)
    assert np.allclose(weights, expected)
    assert np.isclose(intercept, at)
    assert not np.allclose(weights, ridge.fit(x, y, method)[0])


def test_the_last_bits_do_not_depend_on_the_number_of_threads():
    rng, method = np.random.default_rng(0), ridge.Ridge(kind="ridge", label="", alphas=[0.1, 1.0])
    x, y, found = rng.normal(size=(2000, 512)), rng.uniform(size=2000), []
    for threads in (1, 4):
        with threadpool_limits(threads):
            found.append(ridge.fit(x, y, method)[0].tobytes())
    assert found[0] == found[1]
