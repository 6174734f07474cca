"""Triplets of distortion levels: which pictures make one, and what is learned from them."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml
from torch.nn.functional import triplet_margin_loss

from grmp import params
from grmp.clip.model import pixels, random_prompts
from grmp.errors import UserError
from grmp.params import Triplets
from grmp.pretrain import triplets
from grmp.pretrain.tasks import load
from tests import worlds
from tests.pretrain.test_tasks import index
from tests.pretrain.test_train import BACKBONE
from tests.worlds import SHAPE


def violated(anchor, nearer, farther):
    """Share of the triplets whose farther level is nearer; 0.5 is chance."""
    return float(((anchor - nearer).norm(dim=1) >= (anchor - farther).norm(dim=1)).float().mean())


HALF = SimpleNamespace(support=0.5, seed=3)


def ladders(table):
    """All ladders by distortion type."""
    return {t.distortion: t.support + t.query for t in triplets.tasks_of("pre", table, HALF)}


def test_triplets_keep_source_distortion_and_order():
    table = index([1, 2, 3, 5], sources=3)
    found = ladders(table)
    assert {k: len(v) for k, v in found.items()} == {"blur": 3, "noise": 3}
    rng, seen = np.random.default_rng(0), set()
    for _ in range(50):
        for kind, of_kind in found.items():
            for rows in triplets.draw(of_kind, rng):
                three = table.iloc[rows]
                assert three["reference"].nunique() == 1
                assert set(three["distortion"]) == {kind}
                anchor, nearer, farther = three["level"]
                assert abs(nearer - anchor) < abs(farther - anchor)
                seen.add((anchor, nearer, farther))
    assert {(1, 2, 5), (5, 3, 1), (2, 2, 1), (3, 3, 5)} <= seen


def test_draws_are_seeded():
    found = ladders(index([1, 2, 3]))["blur"]
    one, two, other = (triplets.draw(found, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)


def test_support_and_query_share_no_source():
    table = index([1, 2], sources=5)
    for task in triplets.tasks_of("pre", table, SimpleNamespace(support=0.8, seed=3)):
        sides = [{table["reference"][r] for rows, _ in side for r in rows} for side in (task.support, task.query)]
        assert [len(side) for side in sides] == [4, 1]
        assert not sides[0] & sides[1]
    one, two = (str(triplets.tasks_of("pre", table, HALF)) for _ in range(2))
    assert one == two
    few = triplets.tasks_of("pre", index([1, 2], sources=2), SimpleNamespace(support=0.99, seed=3))
    assert [len(t.query) for t in few] == [1, 1]


@pytest.mark.parametrize(
    ("table", "words"),
    [
        (index([3]), "pre has no two levels of one distortion of one source image"),
        (index([1, 2]).assign(level=np.nan), "pre has no two levels"),
        (index([1, 2]).assign(distortion=None), "pre has no two levels"),
        (index([1, 2]).assign(reference=None), "pre has no two levels"),
        (index([1, 2], sources=1), "'blur' has levels of one source only"),
    ],
)
def test_databases_without_levels_are_named(table, words):
    with pytest.raises(UserError, match=words) as caught:
        triplets.tasks_of("pre", table, HALF)
    assert "\n" not in str(caught.value)


def test_prompts_learn_the_order_of_levels(tmp_path):
    """On noise that brightens with its level, of sources of different darkness; judged on sources that do not train."""
    rng, table = np.random.default_rng(0), index(sources=10, kinds=("dim",))
    dark = table["reference"].str[1:].astype(int).to_numpy() * 6 + table["level"].to_numpy() * 22
    images = np.clip(rng.normal(20 + dark[:, None, None, None], 15, (len(table), 3, 36, 36)), 0, 255).astype(np.uint8)
    theta = random_prompts(SHAPE, 3, 0, 4, "layer", torch.Generator().manual_seed(0))
    task = triplets.tasks_of("pre", table, SimpleNamespace(support=0.6, seed=3))[0]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(worlds.settings(), sort_keys=False))
    settings = params.load(tmp_path / "params.yaml").pretrain
    variant = Triplets(kind="triplets", protocol="sound", margin=0.2, rate=1e-2)

    def judge(prompts):
        draws = [triplets.draw(task.query, np.random.default_rng(s)) for s in range(10)]
        rows, rng = np.concatenate(draws).T.ravel(), np.random.default_rng(5)
        x = pixels(load(images, rows, np.zeros(120), 32, torch.device("cpu"), rng)[0], SHAPE)
        with torch.no_grad():
            three = BACKBONE.prompted(prompts).image(x).chunk(3)
        return float(triplet_margin_loss(*three, margin=0.2)), violated(*three)

    def learn(epochs):
        learner = triplets.Learner(theta, variant, settings, BACKBONE, dropout=0.0)
        for epoch in range(epochs):
            learner.visit(learner.batches(task, [images, images], np.random.default_rng(epoch)), [epoch])
        return learner.prompts

    prompts = learn(30)
    (loss, wrong), (loss_before, wrong_before) = judge(prompts), judge(theta)
    assert loss < loss_before - 0.02
    assert wrong < wrong_before
    assert torch.equal(prompts["ctx"], theta["ctx"])  # image embeddings do not depend on the context
    one, two = learn(2), learn(2)
    assert all(torch.equal(one[n], two[n]) for n in one)


def test_without_visual_prompts_there_is_nothing_to_train():
    theta = random_prompts(SHAPE, 0, 0, 4, "layer", torch.Generator().manual_seed(0))
    variant = Triplets(kind="triplets", protocol="sound", margin=0.2, rate=1e-2)
    with pytest.raises(UserError, match=r"set prompts\.visual_tokens"):
        triplets.Learner(theta, variant, None, BACKBONE, dropout=0.0)
