"""The gradient rules, by algebra."""

import math

import pytest
import torch

from grmp.finetune.gradient_rules import RULES, angle, regularize


def pair(sign: float):
    """Two gradients with <G_d, G_g> of the given sign."""
    generator = torch.Generator().manual_seed(4)
    g_g = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    g_d = torch.randn(3, 5, generator=generator, dtype=torch.float64)
    g_d = g_d - (g_d * g_g).sum() / (g_g * g_g).sum() * g_g + sign * 0.3 * g_g
    return {"w": g_d}, {"w": g_g}


@pytest.mark.parametrize("strength", [0.0, 0.5, 1.0, 5.0])
def test_published_acts_on_agreement(strength):
    g_d, g_g = pair(+1)
    out = regularize("published", g_d, g_g, strength)["w"]
    dot = torch.sum(g_d["w"] * g_g["w"])
    torch.testing.assert_close(torch.sum(out * g_g["w"]), (1 - strength) * dot)
    assert torch.equal(regularize("published", *pair(-1), strength)["w"], pair(-1)[0]["w"])


def test_prograd_acts_on_conflict_only():
    g_d, g_g = pair(-1)
    out = regularize("prograd", g_d, g_g, 1.0)["w"]
    torch.testing.assert_close(torch.sum(out * g_g["w"]), torch.tensor(0.0, dtype=torch.float64), atol=1e-12, rtol=0)
    assert torch.equal(regularize("prograd", *pair(+1), 1.0)["w"], pair(+1)[0]["w"])


def test_pcgrad_leaves_no_conflict():
    g_d, g_g = pair(-1)
    out = regularize("pcgrad", g_d, g_g, 1.0)["w"]
    assert torch.sum(out * g_d["w"]) >= 0
    assert torch.sum(out * g_g["w"]) >= 0
    g_d, g_g = pair(+1)
    torch.testing.assert_close(regularize("pcgrad", g_d, g_g, 0.5)["w"], g_d["w"] + 0.5 * g_g["w"])


def test_cosine_gate():
    g_d, g_g = pair(+1)
    cosine = torch.sum(g_d["w"] * g_g["w"]) / (g_d["w"].norm() * g_g["w"].norm())
    torch.testing.assert_close(regularize("cosine_gate", g_d, g_g, 2.0)["w"], g_d["w"] + 2 * cosine * g_g["w"])
    assert torch.equal(regularize("cosine_gate", *pair(-1), 2.0)["w"], pair(-1)[0]["w"])


@pytest.mark.parametrize("rule", ["published", "prograd"])
@pytest.mark.parametrize("sign", [-1, 1])
def test_length_of_the_semantic_gradient_does_not_matter(rule, sign):
    g_d, g_g = pair(sign)
    longer = {"w": 100 * g_g["w"]}
    torch.testing.assert_close(regularize(rule, g_d, g_g, 3.0)["w"], regularize(rule, g_d, longer, 3.0)["w"])


@pytest.mark.parametrize("rule", sorted(RULES))
def test_missing_or_zero_semantic_gradient_leaves_the_task_gradient(rule):
    g_d, _ = pair(1)
    for semantic in ({}, {"w": torch.zeros(3, 5, dtype=torch.float64)}):
        assert torch.equal(regularize(rule, g_d, semantic, 5.0)["w"], g_d["w"])


def test_tensor_by_tensor_and_inputs_untouched():
    (agree, g1), (conflict, g2) = pair(1), pair(-1)
    task, semantic = {"a": agree["w"], "b": conflict["w"]}, {"a": g1["w"], "b": g2["w"]}
    before = {n: t.clone() for n, t in task.items()}
    out = regularize("published", task, semantic, 5.0)
    assert not torch.equal(out["a"], task["a"])
    assert torch.equal(out["b"], task["b"])
    assert all(torch.equal(task[n], before[n]) for n in task)


def test_angle():
    x, y = torch.tensor([1.0, 0.0]), torch.tensor([1.0, 1.0])
    assert angle({"a": x}, {"a": y}) == pytest.approx(45)
    assert angle({"a": x}, {"a": -3 * x}) == pytest.approx(180)
    assert angle({"a": x, "b": x}, {"a": x}) == pytest.approx(45)  # what is missing counts as zero
    assert math.isnan(angle({"a": x}, {"a": 0 * x}))
