"""Ridge regression on embeddings."""

import numpy as np
import torch

from grmp import params
from grmp.clip import checkpoints
from grmp.data import dataset as prepared
from grmp.data import splits
from grmp.methods import ridge
from grmp.methods.context import RunContext, embeddings
from tests import worlds


def test_ridge_recovers_a_linear_truth(tmp_path):
    """Quality that is linear in the embedding is predicted (nearly) perfectly once K exceeds its dimension."""
    world = worlds.build(tmp_path / "w")
    loaded = params.load(world)
    db = prepared.load(world.parent / "data/prepared/pre")
    parts = splits.load(world.parent / "data/splits/pre/sound.csv", db.index["image"])
    backbone = checkpoints.load(world.parent)
    case = RunContext(loaded, world.parent, db, db, parts, parts, 20, backbone, torch.device("cpu"))
    x = embeddings(case, db.images).numpy()
    truth = x @ np.eye(x.shape[1])[0]
    db.index["quality"] = (truth - truth.min()) / (truth.max() - truth.min())
    (outcome,) = ridge.prepare(case, ridge.Ridge(kind="ridge", label="", alphas=[1e-6]))([0])
    assert np.corrcoef(outcome.scores, case.quality[parts.test(0)])[0, 1] > 0.9


def test_a_weight_of_two_is_the_image_twice():
    rng = np.random.default_rng(0)
    x, y, twice = rng.normal(size=(12, 4)), rng.uniform(size=12), np.array([0, *range(12)])
    method = ridge.Ridge(kind="ridge", label="", alphas=[0.3])
    weights, intercept = ridge.fit(x, y, method, np.bincount(twice).astype(float))
    expected, at = ridge.fit(x[twice], y[twice], method)
    assert np.allclose(weights, expected)
    assert np.isclose(intercept, at)
    assert not np.allclose(weights, ridge.fit(x, y, method)[0])
