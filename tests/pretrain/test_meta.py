"""Meta-learning, by algebra on problems whose gradients are known in closed form."""

import numpy as np
import pandas as pd
import pytest
import torch

from grmp.data import databases
from grmp.errors import UserError
from grmp.params import Variant
from grmp.pretrain import meta

RATE = 0.1
CURVATURE = torch.tensor([1.0, 3.0], dtype=torch.float64)


def variant(**change) -> Variant:
    base = {"protocol": "sound", "reset": "task", "query": "outer", "outer": "average", "order": 1, "inner": "sgd"}
    return Variant(**base | {"inner_rate": RATE, "outer_rate": 1.0} | change)


def quadratic(theta, batch):
    """Half the curvature-weighted squared distance to the batch's target."""
    return 0.5 * torch.sum(CURVATURE * (theta["w"] - batch[1]) ** 2)


def batch(*target):
    return torch.empty(0), torch.tensor(target, dtype=torch.float64)


THETA = {"w": torch.tensor([1.0, -2.0], dtype=torch.float64)}
SUPPORT, QUERY = batch(0.0, 0.0), batch(2.0, 1.0)


def inner_result(steps):
    """Where SGD on the support quadratic arrives from THETA."""
    return THETA["w"] * (1 - RATE * CURVATURE) ** steps


def visit(v, batches):
    return meta.visit(THETA, meta.Inner(THETA, v.inner, v.inner_rate), batches, quadratic, v)


@pytest.mark.parametrize("steps", [1, 3])
def test_reptile_direction_is_the_way_travelled(steps):
    done = visit(variant(order=0), [(SUPPORT, QUERY)] * steps)
    torch.testing.assert_close(done.direction["w"], THETA["w"] - inner_result(steps))
    assert len(done.support_losses) == len(done.query_losses) == steps


@pytest.mark.parametrize("steps", [1, 3])
def test_fomaml_direction_is_the_query_gradient_at_the_adapted_point(steps):
    done = visit(variant(order=1), [(SUPPORT, QUERY)] * steps)
    torch.testing.assert_close(done.direction["w"], CURVATURE * (inner_result(steps) - QUERY[1]))


@pytest.mark.parametrize("steps", [1, 3])
def test_maml_direction_is_differentiated_through_the_inner_steps(steps):
    done = visit(variant(order=2), [(SUPPORT, QUERY)] * steps)
    through = (1 - RATE * CURVATURE) ** steps
    torch.testing.assert_close(done.direction["w"], through * CURVATURE * (inner_result(steps) - QUERY[1]))


def test_published_query_steps_the_inner_model():
    done = visit(variant(order=0, query="inner"), [(SUPPORT, QUERY)])
    after = inner_result(1) - RATE * CURVATURE * (inner_result(1) - QUERY[1])
    torch.testing.assert_close(done.direction["w"], THETA["w"] - after)


def test_theta_is_not_moved_by_a_visit():
    before = THETA["w"].clone()
    for order in (0, 1, 2):
        visit(variant(order=order), [(SUPPORT, QUERY)])
    assert torch.equal(THETA["w"], before)


def test_outer_average_and_adam():
    directions = [
        meta.Visit({"w": torch.tensor([1.0, 0.0])}, [], []),
        meta.Visit({"w": torch.tensor([3.0, -2.0])}, [], []),
    ]
    mean = meta.mean_direction(directions)
    start = {"w": torch.tensor([0.0, 0.0])}
    outer = meta.Outer(start, "average", 0.5)
    outer.step(mean)
    torch.testing.assert_close(outer.theta["w"], torch.tensor([-1.0, 0.5]))
    outer = meta.Outer(start, "adam", 0.5)
    outer.step(mean)
    torch.testing.assert_close(outer.theta["w"], torch.tensor([-0.5, 0.5]))  # Adam's first step is the rate, signed
    assert torch.equal(start["w"], torch.zeros(2))


def index(references=4, kinds=("blur", "noise")):
    rows = [
        {
            "image": f"{r}_{k}_{level}.png",
            "quality": 1 - level / 5,
            "reference": f"r{r}",
            "distortion": k,
            "level": level,
        }
        for r in range(references)
        for k in kinds
        for level in range(1, 6)
    ]
    return pd.DataFrame(rows)


def test_tasks_one_per_distortion():
    tasks = meta.tasks_of("db", index())
    assert [t.distortion for t in tasks] == ["blur", "noise"]
    assert all(len(t.rows) == 20 and len(np.unique(t.groups)) == 4 for t in tasks)


def test_tasks_need_labels_and_sources():
    with pytest.raises(UserError, match="wild has no distortion labels"):
        meta.tasks_of("wild", index().assign(distortion=None))
    with pytest.raises(UserError, match="'blur' has pictures of one source only"):
        meta.tasks_of("db", index(references=1))


def test_a_distortion_without_pictures_is_named():
    kadid, tid = databases.get("kadid10k"), databases.get("tid2013")
    kinds = list(kadid.distortions)
    assert (len(kinds), kinds[0], kinds[-1]) == (25, "01 gaussian blur", "25 contrast change")
    assert kinds[5] == kadid.parse("I01_06_03.png").distortion
    assert tid.distortions[23] == tid.parse("i01_24_1.bmp").distortion
    parts = [index().query("distortion == 'blur'").assign(distortion=k) for k in kinds]
    whole = pd.concat(parts, ignore_index=True)
    assert [t.distortion for t in meta.tasks_of("kadid10k", whole)] == kinds
    with pytest.raises(
        UserError, match=r"kadid10k: distortion '13 impulse noise' has no pictures; .* prepare@kadid10k"
    ):
        meta.tasks_of("kadid10k", whole[whole["distortion"] != "13 impulse noise"])


@pytest.mark.parametrize("by", ["reference", "image"])
def test_draw_splits_support_from_query(by):
    task = meta.tasks_of("db", index(references=10))[0]
    pairs = meta.draw(task, 0.8, by, "database", 16, 5, np.random.default_rng(0))
    support = np.concatenate([s[0] for s, _ in pairs])
    query = np.concatenate([q[0] for _, q in pairs])
    assert len(support) == 40
    assert len(np.unique(support)) == 40
    assert not set(support) & set(query)
    of = dict(zip(task.rows, task.groups, strict=True))
    shared = {of[r] for r in support} & {of[r] for r in query}
    assert (not shared) if by == "reference" else shared
    for (rows, targets), _ in pairs:
        assert dict(zip(task.rows, task.targets, strict=True))[rows[0]] == targets[0]


def test_draw_query_comes_round_and_scales():
    task = meta.tasks_of("db", index(references=10))[0]
    pairs = meta.draw(task, 0.8, "image", "set", 8, 50, np.random.default_rng(0))
    assert len(pairs) == 5
    assert all(np.array_equal(pairs[0][1][0], q[0]) for _, q in pairs)
    targets = np.concatenate([s[1] for s, _ in pairs])
    assert (targets.min(), targets.max()) == (0, 1)
    again = meta.draw(task, 0.8, "image", "set", 8, 50, np.random.default_rng(0))
    assert all(np.array_equal(a[0][0], b[0][0]) for a, b in zip(pairs, again, strict=True))
