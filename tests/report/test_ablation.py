"""Ablations are those of params.yaml, and say what the records hold."""

import shutil
from pathlib import Path

import pytest

from grmp.report import ablation, comparisons, distortions, gradient
from grmp.report.ablation import sweeps, value_text
from grmp.report.results import Results
from tests.report.sample import TARGETS, run_here, with_ablations
from tests.report.test_few_shot import texts_apart
from tests.report.test_notebook import check


@pytest.fixture(scope="module")
def unrun(empty: Results, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Ablations of which nothing has been run."""
    return Results.open(with_ablations(shutil.copytree(empty.root, tmp_path_factory.mktemp("unrun") / "world")))


def test_ablations_are_those_of_the_settings(ablated: Results):
    found = {s.key: [name for _, name in s.points] for s in sweeps(ablated.params)}
    assert found == {
        "adapt.tuned_blocks": ["blocks_0", "grmp", "blocks_3"],
        "prompts.visual_layers": ["shallow", "random"],  # 0 means all of them
        "prompts.classes": ["random", "words"],
    }
    strength = gradient.ablation_of(ablated.params, "grmp", "strength")
    assert [(value_text("strength", v), n) for v, n in strength.points] == [
        ("0", "meta"),
        ("5", "grmp"),
        ("20", "strong"),
    ]
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


DRAWN = {
    "parts": lambda w: comparisons.forest(w, comparisons.effects(w, w.params.report.parts), shared=True),
    "sweeps": lambda w: ablation.sweep_figure(w, sweeps(w.params), TARGETS, "25"),
    "strength": lambda w: gradient.strength(w, "grmp", TARGETS, "25"),
    "angles": lambda w: gradient.angles(w, ["grmp", "meta", "prograd"], TARGETS, "25"),
    "heat map": lambda w: distortions.heat_map(w, ["zero_shot", "random", "meta", "grmp"], 25),
    "levels": lambda w: distortions.by_level(w, ["zero_shot", "random", "meta", "grmp"], 25),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
class TestEach:
    def test_labels_do_not_overlap(self, ablated: Results, draw):
        assert texts_apart(draw(ablated))

    def test_nothing_run_is_no_figure_and_no_error(self, unrun: Results, draw):
        assert draw(unrun) is None


def test_tables_of_what_has_not_been_run_name_the_command(unrun: Results):
    found = sweeps(unrun.params)
    table = ablation.sweep_table(unrun, found, TARGETS, 25)
    assert "`grmp sweep` (one of them: " in table.note
    assert set(table.shown["SRCC"]) == {"–"}
    assert "`grmp run alpha grmp 25 --protocol sound`" in gradient.rule_table(unrun, "grmp", TARGETS, 25).note
    asked = unrun.params.report.parts
    assert (
        "Not run: Meta-learned prompts, without the rule needs"
        in comparisons.effect_table(unrun, comparisons.effects(unrun, asked), asked, "").note
    )
    assert "`dvc repro`" in distortions.distortion_table(unrun, ["grmp"], 25, None).note
