"""Meta-learning, by algebra on problems whose gradients are known in closed form."""

import pytest
import torch

from grmp.params import Variant
from grmp.pretrain import meta

RATE = 0.1
CURVATURE = torch.tensor([1.0, 3.0], dtype=torch.float64)


def variant(**change) -> Variant:
    base = {"protocol": "sound", "reset": "task", "query": "outer", "outer": "average", "order": 1, "inner": "sgd"}
    return Variant(**base | {"inner_rate": RATE, "outer_rate": 1.0} | change)


def quadratic(theta, batch):
    """Half the curvature-weighted squared distance to the batch's target."""
    return 0.5 * torch.sum(CURVATURE * (theta["w"] - batch[1][:2]) ** 2)


def batch(*target):
    return torch.empty(0), torch.tensor(target, dtype=torch.float64)


THETA = {"w": torch.tensor([1.0, -2.0], dtype=torch.float64)}
SUPPORT, QUERY = batch(0.0, 0.0), batch(2.0, 1.0)


def inner_result(steps):
    """Where SGD on the support quadratic arrives from THETA."""
    return THETA["w"] * (1 - RATE * CURVATURE) ** steps


def visit(v, steps=1, queries=(QUERY,)):
    return meta.visit(THETA, meta.Inner(THETA, v.inner, v.inner_rate), [SUPPORT] * steps, queries, quadratic, v)


@pytest.mark.parametrize("steps", [1, 3])
def test_reptile_direction_is_the_way_travelled(steps):
    direction, (support, query) = visit(variant(order=0), steps)
    torch.testing.assert_close(direction["w"], THETA["w"] - inner_result(steps))
    assert (len(support), len(query)) == (steps, 1)


@pytest.mark.parametrize("steps", [1, 3])
def test_fomaml_direction_is_the_query_gradient_at_the_adapted_point(steps):
    direction, _ = visit(variant(order=1), steps)
    torch.testing.assert_close(direction["w"], CURVATURE * (inner_result(steps) - QUERY[1]))


@pytest.mark.parametrize("steps", [1, 3])
def test_maml_direction_is_differentiated_through_the_inner_steps(steps):
    direction, _ = visit(variant(order=2), steps)
    through = (1 - RATE * CURVATURE) ** steps
    torch.testing.assert_close(direction["w"], through * CURVATURE * (inner_result(steps) - QUERY[1]))


def test_published_query_steps_the_inner_model():
    direction, _ = visit(variant(order=0, query="inner"))
    after = inner_result(1) - RATE * CURVATURE * (inner_result(1) - QUERY[1])
    torch.testing.assert_close(direction["w"], THETA["w"] - after)


@pytest.mark.parametrize("order", [1, 2])
def test_every_query_image_counts_once(order):
    """The gradient of the mean over images: batches of two and of one weigh two to one."""
    other = batch(-1.0, 3.0)
    two = QUERY[0], QUERY[1].repeat(2)
    whole, _ = visit(variant(order=order), 3, [two, other])
    parts = [visit(variant(order=order), 3, [query])[0]["w"] for query in (QUERY, other)]
    torch.testing.assert_close(whole["w"], (2 * parts[0] + parts[1]) / 3)


def test_theta_is_not_moved_by_a_visit():
    before = THETA["w"].clone()
    for order in (0, 1, 2):
        visit(variant(order=order))
    assert torch.equal(THETA["w"], before)


def test_outer_average_and_adam():
    mean = [{"w": torch.tensor([1.0, 0.0])}, {"w": torch.tensor([3.0, -2.0])}]  # of two tasks
    start = {"w": torch.tensor([0.0, 0.0])}
    outer = meta.Outer(start, "average", 0.5)
    outer.step(mean)
    torch.testing.assert_close(outer.theta["w"], torch.tensor([-1.0, 0.5]))
    outer = meta.Outer(start, "adam", 0.5)
    outer.step(mean)
    torch.testing.assert_close(outer.theta["w"], torch.tensor([-0.5, 0.5]))  # Adam's first step is the rate, signed
    assert torch.equal(start["w"], torch.zeros(2))
