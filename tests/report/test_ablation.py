"""Ablations are those of params.yaml, and say what the records hold."""

import shutil
from pathlib import Path

import pytest

from grmp.report import ablation, comparisons, distortions, gradient
from grmp.report.ablation import sweeps, value_text
from grmp.report.results import Results
from tests.report.sample import TARGETS, run_here
from tests.report.test_notebook import check


def test_ablations_are_those_of_the_settings(ablated: Results):
    found = {s.key: [name for _, name in s.points] for s in sweeps(ablated.params)}
    assert found == {
        "adapt.tuned_blocks": ["blocks_0", "grmp", "blocks_3"],
        "prompts.visual_layers": ["shallow", "random"],  # 0 means all of them
        "prompts.classes": ["random", "words"],
    }
    strength = gradient.ablation_of(ablated.params, "grmp", "strength")
    points = [(value_text("strength", value), name) for value, name in strength.points]
    assert points == [("0", "meta"), ("5", "grmp"), ("20", "strong")]
    assert gradient.ablation_of(ablated.params, "random", "strength").points == []


def test_the_sweep_table_holds_medians_and_differences(ablated: Results):
    found = sweeps(ablated.params)
    table = ablation.sweep_table(ablated, found, TARGETS, "25")
    assert len(table.shown) == sum(len(s.points) for s in found) * len(TARGETS)
    one = comparisons.at(ablated.summary, database="beta", method="blocks_0", shots=25, metric="srcc").iloc[0]
    row = table.shown.iloc[1]
    assert row["SRCC"] == f"{one['median']:.3f} [{one['median_low']:.3f}, {one['median_high']:.3f}]"
    assert table.shown["Difference"].tolist().count("default") == len(found) * len(TARGETS)
    assert "–" not in table.note


@pytest.mark.parametrize("name", ["ablation", "gradient"])
def test_the_notebooks_show_and_save(ablated: Results, tmp_path: Path, name: str):
    root = shutil.copytree(ablated.root, tmp_path / "root")
    check(root, name, run_here(name, root))


def test_tables_of_what_has_not_been_run_name_the_command(empty: Results):
    table = ablation.sweep_table(empty, sweeps(empty.params), TARGETS, 25)
    assert "`grmp sweep` (one of them: " in table.note
    assert set(table.shown["SRCC"]) == {"–"}
    assert "`grmp run alpha grmp 25 --protocol sound`" in gradient.rule_table(empty, "grmp", TARGETS, 25).note
    asked = empty.params.report.parts
    table = comparisons.effect_table(empty, comparisons.effects(empty, asked), asked, "")
    assert "Not run: Meta-learned prompts, without the rule needs" in table.note
    assert "`dvc repro`" in distortions.distortion_table(empty, ["grmp"], 25, None).note
