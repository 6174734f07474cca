"""Ablations are found from what sets methods apart, and say what the records hold."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from grmp.errors import UserError
from grmp.metrics import paired
from grmp.report import ablation, comparisons, distortions, gradient
from grmp.report.ablation import definition, differs_in, sweep, sweeps, value_text
from grmp.report.collect import collect
from grmp.report.results import Results
from tests.report.sample import make_settings, seal, settings
from tests.report.test_few_shot import texts_apart

TARGETS = ["alpha", "beta"]
RANDOM = {"kind": "tune", "train": ["context", "blocks"], "prompts": "random", "rule": "none", "strength": 0.0}
GRMP = RANDOM | {"prompts": "reptile", "rule": "published", "strength": 5.0}
ADDED = {
    "random_qgr": GRMP | {"prompts": "random", "label": "Random prompts + rule"},
    "prograd": GRMP | {"rule": "prograd", "strength": 1.0, "label": "ProGrad"},
    "strong": GRMP | {"strength": 20.0, "label": "λ = 20"},
    "blocks_0": GRMP | {"set": {"adapt.tuned_blocks": 0}, "label": "No block"},
    "blocks_3": GRMP | {"set": {"adapt.tuned_blocks": 3}, "label": "3 blocks"},
    "blocks_3_random": RANDOM | {"set": {"adapt.tuned_blocks": 3}, "label": "3 blocks, random"},
    "shallow": RANDOM | {"set": {"prompts.visual_layers": 1}, "label": "First layer"},
    "words": RANDOM | {"set": {"prompts.classes": ["good photo", "bad photo"]}, "label": "Other words"},
    "two_things": RANDOM | {"set": {"adapt.tuned_blocks": 0, "prompts.text_tokens": 2}, "label": "Two things"},
}


def with_ablations(world: Path) -> Path:
    """params.yaml with the methods above and their grid."""
    raw = settings()
    raw["methods"] |= ADDED
    grid = {"protocols": ["sound"], "databases": TARGETS, "methods": list(ADDED), "shots": [25]}
    raw["run"] = raw["run"] | {"ablation": grid}
    (world / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True))
    return world


@pytest.fixture(scope="module")
def world(collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The miniature world with ablations: records of others, their scores moved a little."""
    folder = with_ablations(shutil.copytree(collected, tmp_path_factory.mktemp("ablations") / "world"))
    for number, name in enumerate(ADDED):
        for database in TARGETS:
            runs = folder / "results/runs/sound" / database
            shutil.copytree(runs / "grmp/25", runs / name / "25")
            path = runs / name / "25/run.json"
            path.write_text(json.dumps(json.loads(path.read_text()) | {"method": name}))
            table = pd.read_csv(runs / name / "25/predictions.csv")
            table["score"] += np.random.default_rng(number).normal(0, 0.002 * (1 + number), len(table))
            table.to_csv(runs / name / "25/predictions.csv", index=False)
            seal(runs / name / "25")
    collect(Results.open(folder).params, folder / "results")
    return Results.open(folder)


def test_a_definition_holds_the_own_values(world: Results):
    own = definition(world.params, "blocks_0")
    assert own is not None
    assert own["adapt.tuned_blocks"] == 0
    assert own["prompts.visual_layers"] == world.params.prompts.visual_layers
    assert definition(world.params, "ridge") is None
    assert differs_in(world.params, "grmp", "blocks_0") == {"adapt.tuned_blocks"}
    assert differs_in(world.params, "random", "grmp") == {"prompts", "rule", "strength"}
    with pytest.raises(UserError, match=r"'nobody' is not defined in params\.yaml; known: zero_shot, ridge"):
        definition(world.params, "nobody")


def test_sweeps_are_found_with_their_base(world: Results):
    found = {(s.base, s.key): [name for _, name in s.points] for s in sweeps(world.params, world.params.methods)}
    assert found == {
        ("grmp", "adapt.tuned_blocks"): ["blocks_0", "grmp", "blocks_3"],
        ("random", "adapt.tuned_blocks"): ["random", "blocks_3_random"],
        ("random", "prompts.visual_layers"): ["shallow", "random"],  # 0 means all of them
        ("random", "prompts.classes"): ["words", "random"],
    }


def test_no_rule_is_strength_0(world: Results):
    found = sweep(world.params, "grmp", "strength", world.params.methods)
    assert found.points == ((0.0, "meta"), (5.0, "grmp"), (20.0, "strong"))
    assert [value_text("strength", value) for value, _ in found.points] == ["0", "5", "20"]


def test_corners_and_rules(world: Results):
    assert ablation.corners(world.params, "grmp") == {
        "both": "grmp",
        "no meta": "random_qgr",
        "no rule": "meta",
        "neither": "random",
    }
    assert gradient.rules(world, "grmp") == ["meta", "grmp", "prograd"]
    asked = [("As published, λ = 5", "grmp", "meta"), ("ProGrad, λ = 1", "prograd", "meta")]
    assert gradient.variants(world, "grmp") == asked


def test_effects_are_those_of_the_records(world: Results):
    asked = ablation.parts(world, "grmp")
    assert len(asked) == 4
    found = comparisons.effects(world, asked)
    row = comparisons.at(found, question="Gradient rule, random prompts", database="beta").iloc[0]
    by = world.scores.query("database == 'beta' and shots == 25").pivot(index="split", columns="method", values="srcc")
    e = world.params.evaluate
    expected = paired(by["random_qgr"], by["random"], e.level, e.resamples, e.seed)
    assert {key: row[key] for key in expected} == pytest.approx(expected)
    assert row["differences"] == pytest.approx((by["random_qgr"] - by["random"]).tolist())
    cells = found.groupby("question", sort=False).size()
    assert cells.tolist() == [6, 2, 2, 6]  # what has no partner has no row
    table = comparisons.effect_table(world, found, asked, "Parts")
    assert len(table.shown) == 16
    assert "Not run" not in table.note


def test_runs_on_other_pictures_are_not_compared(world: Results, tmp_path: Path):
    folder = shutil.copytree(world.root, tmp_path / "world")
    path = folder / "results/runs/sound/alpha/random_qgr/25/run.json"
    run = json.loads(path.read_text())
    run["inputs"]["database"] = "9" * 64
    path.write_text(json.dumps(run))
    found = comparisons.effects(Results.open(folder), [("q", "random_qgr", "random")])
    assert found["database"].tolist() == ["beta"]


def test_the_sweep_table_holds_medians_and_differences(world: Results):
    found = sweeps(world.params, world.params.methods)
    table = ablation.sweep_table(world, found, TARGETS, "25")
    assert len(table.shown) == sum(len(s.points) for s in found) * len(TARGETS)
    one = comparisons.at(world.summary, database="beta", method="blocks_0", shots=25, metric="srcc").iloc[0]
    row = table.shown.iloc[1]
    assert row["SRCC"] == f"{one['median']:.3f} [{one['median_low']:.3f}, {one['median_high']:.3f}]"
    assert table.shown["Difference"].tolist().count("default") == len(found) * len(TARGETS)
    assert "–" not in table.note


DRAWN = {
    "parts": lambda w: comparisons.forest(w, comparisons.effects(w, ablation.parts(w, "grmp")), shared=True),
    "sweeps": lambda w: ablation.sweep_figure(w, sweeps(w.params, w.params.methods), TARGETS, "25"),
    "strength": lambda w: gradient.strength(w, "grmp", TARGETS, "25"),
    "angles": lambda w: gradient.angles(w, gradient.rules(w, "grmp"), TARGETS, "25"),
    "heat map": lambda w: distortions.heat_map(w, ["zero_shot", "random", "meta", "grmp"], 25),
    "levels": lambda w: distortions.by_level(w, ["zero_shot", "random", "meta", "grmp"], 25),
}


@pytest.mark.parametrize("draw", DRAWN.values(), ids=DRAWN)
class TestEach:
    def test_labels_do_not_overlap(self, world: Results, draw):
        assert texts_apart(draw(world))

    def test_nothing_run_is_no_figure_and_no_error(self, tmp_path: Path, draw):
        make_settings(tmp_path)
        assert draw(Results.open(with_ablations(tmp_path))) is None


def test_tables_of_what_has_not_been_run_name_the_command(tmp_path: Path):
    make_settings(tmp_path)
    empty = Results.open(with_ablations(tmp_path))
    found = sweeps(empty.params, empty.params.methods)
    table = ablation.sweep_table(empty, found, TARGETS, 25)
    assert "`grmp sweep` (one of them: " in table.note
    assert set(table.shown["SRCC"]) == {"–"}
    assert "`grmp run alpha meta 25 --protocol sound`" in gradient.rule_table(empty, "grmp", TARGETS, 25).note
    asked = ablation.parts(empty, "grmp")
    assert (
        "Not run: Meta-learned prompts, without the rule needs"
        in comparisons.effect_table(empty, comparisons.effects(empty, asked), asked, "").note
    )
    assert "`dvc repro`" in distortions.distortion_table(empty, ["grmp"], 25, None).note


def test_a_rule_that_no_grid_asks_for_is_said_to_be_so(tmp_path: Path):
    make_settings(tmp_path)
    with_ablations(tmp_path)
    raw = yaml.safe_load((tmp_path / "params.yaml").read_text())
    raw["run"]["ablation"]["methods"] = ["strong"]
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    note = gradient.rule_table(Results.open(tmp_path), "grmp", TARGETS, 25).note
    assert "add prograd to run.ablation in params.yaml" in note


def test_the_thick_line_is_the_mean_angle_over_splits(world: Results):
    figure = gradient.angles(world, ["meta", "grmp"], TARGETS, 25)
    history = world.record("alpha", "grmp", 25).history
    expected = history.groupby("epoch")["angle_deg"].mean()
    assert figure.axes[1].lines[-1].get_ydata() == pytest.approx(expected.to_numpy())


def test_the_heat_map_holds_the_medians(world: Results):
    table = distortions.distortion_table(world, ["random", "meta"], 25, ("meta", "random"))
    of = world.distortions.query("shots == 25 and database == 'beta' and distortion == 'jpeg'")
    of = of[of["level"].isna()].pivot(index="split", columns="method", values="srcc")
    row = table.data.query("database == 'beta' and distortion == 'jpeg'").iloc[0]
    assert row["meta"] == pytest.approx(of["meta"].median())
    assert row["difference"] == pytest.approx((of["meta"] - of["random"]).mean())
    texts = [t.get_text() for t in distortions.heat_map(world, ["random", "meta"], 25).axes[1].texts]
    assert f"{row['meta']:.2f}".replace("-", "−") in texts
