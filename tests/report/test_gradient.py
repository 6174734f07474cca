"""Gradient rules: their questions, angles, and what is missing."""

from pathlib import Path

import pytest

from grmp.report import gradient
from grmp.report.results import Results
from tests.report.sample import TARGETS, editing, make_settings, with_ablations


def test_rules_and_their_questions(ablated: Results):
    points = gradient.ablation_of(ablated.params, "grmp", "rule").points
    assert [name for _, name in points] == ["grmp", "meta", "prograd"]
    asked = [("grmp", "meta", "As published, λ = 5"), ("prograd", "meta", "ProGrad, λ = 1")]
    assert [(p.method, p.against, p.question) for p in gradient.variants(ablated.params, "grmp")] == asked


def test_a_rule_that_no_grid_asks_for_is_said_to_be_so(tmp_path: Path):
    world = with_ablations(make_settings(tmp_path))
    with editing(world) as raw:
        raw["run"]["ablation"]["methods"] = ["lambda"]
    note = gradient.rule_table(Results.open(world), "grmp", TARGETS, 25).note
    assert "add prograd to run.ablation in params.yaml" in note


def test_the_thick_line_is_the_mean_angle_over_splits(ablated: Results):
    figure = gradient.angles(ablated, ["meta", "grmp"], TARGETS, 25)
    history = ablated.record("alpha", "grmp", 25).history
    expected = history.groupby("epoch")["angle_deg"].mean()
    assert figure.axes[1].lines[-1].get_ydata() == pytest.approx(expected.to_numpy())
