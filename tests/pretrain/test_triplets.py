"""Triplets of distortion levels: the loss's algebra, and which pictures make one."""

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from torch.nn.functional import normalize

from grmp import params
from grmp.clip.model import Backbone, pixels, random_prompts
from grmp.errors import UserError
from grmp.params import Triplets
from grmp.pretrain import triplets
from grmp.pretrain.tasks import load
from tests import worlds
from tests.golden import weights
from tests.worlds import SHAPE


def embeddings(seed=0, count=7):
    generator = torch.Generator().manual_seed(seed)
    return [normalize(torch.randn(count, 5, generator=generator, dtype=torch.float64), dim=1) for _ in range(3)]


def violated(anchor, nearer, farther):
    """Share of the triplets whose farther level is nearer; 0.5 is chance."""
    return float(((anchor - nearer).norm(dim=1) >= (anchor - farther).norm(dim=1)).float().mean())


def test_loss_is_what_it_says():
    a, n, f = embeddings()
    expected = np.mean([max(0.0, 0.3 + (x - y).norm() - (x - z).norm()) for x, y, z in zip(a, n, f, strict=True)])
    assert float(triplets.triplet_loss(a, n, f, 0.3)) == pytest.approx(expected, abs=1e-5)


def test_loss_is_the_margin_where_nothing_tells_and_zero_where_the_order_holds():
    a, n, _ = embeddings()
    assert float(triplets.triplet_loss(a, n, n, 0.2)) == pytest.approx(0.2)
    assert float(triplets.triplet_loss(a, a, -a, 0.2)) == 0.0  # 0 against 2, farther than any margin
    assert float(triplets.triplet_loss(a, -a, a, 0.2)) == pytest.approx(2.2, abs=1e-4)
    assert violated(a, a, -a) == 0.0
    assert violated(a, -a, a) == 1.0


def test_loss_does_not_change_under_a_rotation():
    a, n, f = embeddings()
    q = torch.linalg.qr(torch.randn(5, 5, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    assert float(triplets.triplet_loss(a @ q, n @ q, f @ q, 0.3)) == pytest.approx(
        float(triplets.triplet_loss(a, n, f, 0.3)), abs=1e-5
    )


def test_a_step_against_the_gradient_draws_the_nearer_and_drives_the_farther():
    a, n, f = embeddings(count=1)
    n.requires_grad_()
    f.requires_grad_()
    triplets.triplet_loss(a, n, f, 3.0).backward()
    near, far = n - 0.1 * n.grad, f - 0.1 * f.grad
    assert (a - near).norm() < (a - n).norm()
    assert (a - far).norm() > (a - f).norm()


def test_gradient_is_finite_where_the_nearer_is_the_anchor():
    a, _, f = embeddings()
    a.requires_grad_()
    triplets.triplet_loss(a, a.clone(), f, 3.0).backward()
    assert torch.isfinite(a.grad).all()


def index(levels, sources=3, kinds=("blur", "noise")):
    rows = [
        {"image": f"{s}_{k}_{v}", "reference": f"s{s}", "distortion": k, "level": v}
        for s in range(sources)
        for k in kinds
        for v in levels
    ]
    return pd.DataFrame(rows)


def ladders(table):
    """All ladders by distortion type."""
    return {t.distortion: t.support + t.query for t in triplets.tasks_of("pre", table, 0.5, seed=3)}


def test_triplets_keep_source_distortion_and_order():
    table = index([1, 2, 3, 5])
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
    for task in triplets.tasks_of("pre", table, 0.8, seed=3):
        sides = [{table["reference"][r] for x in side for r in x.rows} for side in (task.support, task.query)]
        assert [len(side) for side in sides] == [4, 1]
        assert not sides[0] & sides[1]
    one, two = (triplets.tasks_of("pre", table, 0.5, seed=3) for _ in range(2))
    assert [[x.rows.tolist() for x in t.query] for t in one] == [[x.rows.tolist() for x in t.query] for t in two]
    assert [len(t.query) for t in triplets.tasks_of("pre", index([1, 2], sources=2), 0.99, seed=3)] == [1, 1]


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
        triplets.tasks_of("pre", table, 0.5, seed=3)
    assert "\n" not in str(caught.value)


def test_prompts_learn_the_order_of_levels(tmp_path):
    """On noise that brightens with its level, of sources of different darkness; judged on sources that do not train."""
    rng, table = np.random.default_rng(0), index([1, 2, 3, 4, 5], sources=10, kinds=("dim",))
    dark = table["reference"].str[1:].astype(int).to_numpy() * 6 + table["level"].to_numpy() * 22
    images = np.clip(rng.normal(20 + dark[:, None, None, None], 15, (len(table), 3, 36, 36)), 0, 255).astype(np.uint8)
    backbone = Backbone(weights.clip_weights(SHAPE), SHAPE, "seeded")
    theta = random_prompts(SHAPE, 3, 0, 4, "layer", torch.Generator().manual_seed(0))
    task = triplets.tasks_of("pre", table, 0.6, seed=3)[0]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(worlds.settings(), sort_keys=False))
    settings = params.load(tmp_path / "params.yaml").pretrain
    variant = Triplets(kind="triplets", protocol="sound", margin=0.2, rate=1e-2)

    def judge(prompts):
        draws = [triplets.draw(task.query, np.random.default_rng(s)) for s in range(10)]
        rows, rng = np.concatenate(draws).T.ravel(), np.random.default_rng(5)
        x = pixels(load(images, rows, np.zeros(120), 32, torch.device("cpu"), rng)[0], SHAPE)
        with torch.no_grad():
            three = backbone.prompted(prompts).image(x).chunk(3)
        return float(triplets.triplet_loss(*three, 0.2)), violated(*three)

    def learn():
        learner = triplets.Learner(theta, variant, settings, backbone, dropout=0.0)
        for epoch in range(30):
            learner.visit([learner.batches(task, [images, images], np.random.default_rng(epoch))], [[epoch]])
        return learner.prompts

    prompts = learn()
    (loss, wrong), (loss_before, wrong_before) = judge(prompts), judge(theta)
    assert loss < loss_before - 0.02
    assert wrong < wrong_before
    assert torch.equal(prompts["ctx"], theta["ctx"])  # image embeddings do not depend on the context
    again = learn()
    assert all(torch.equal(prompts[n], again[n]) for n in prompts)
