"""Ablations are those of params.yaml, and say what the records hold."""

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from grmp.metrics import interval
from grmp.report import ablation, comparisons, distortions, gradient
from grmp.report.ablation import sweeps, value_text
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
}
BLOCKS = {"base": "grmp", "key": "adapt.tuned_blocks", "title": "tuned blocks", "label": "{} blocks", "values": [0, 3]}
ABLATIONS = {
    "lambda": BLOCKS | {"key": "strength", "values": {"strong": 20.0}, "also": {"meta": 0.0}},
    "rule": BLOCKS | {"key": "rule", "values": [], "also": {"meta": "none", "prograd": "prograd"}},
    "blocks": BLOCKS,
    "layers": BLOCKS | {"base": "random", "key": "prompts.visual_layers", "values": {"shallow": 1}},
    "classes": BLOCKS | {"base": "random", "key": "prompts.classes", "values": {"words": ["good photo", "bad photo"]}},
}
PARTS = [
    {"method": "meta", "against": "random", "question": "Meta-learned prompts, without the rule"},
    {"method": "grmp", "against": "random_qgr", "question": "Meta-learned prompts, with the rule"},
    {"method": "random_qgr", "against": "random", "question": "Gradient rule, random prompts"},
    {"method": "grmp", "against": "meta", "question": "Gradient rule, meta-learned prompts"},
]
MORE = [*ADDED, "strong", "blocks_0", "blocks_3", "shallow", "words"]  # with those that the ablations generate


def with_ablations(world: Path) -> Path:
    """params.yaml with the methods above and their grid."""
    raw = settings()
    raw["methods"] |= ADDED
    methods = [*ADDED, *(name for name in ABLATIONS if name != "rule")]
    grid = {"protocols": ["sound"], "databases": TARGETS, "methods": methods, "shots": [25]}
    raw |= {"run": raw["run"] | {"ablation": grid}, "ablations": ABLATIONS, "report": raw["report"] | {"parts": PARTS}}
    (world / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False, allow_unicode=True))
    return world


@pytest.fixture(scope="module")
def world(collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Results:
    """The miniature world with ablations: records of others, their scores moved a little."""
    folder = with_ablations(shutil.copytree(collected, tmp_path_factory.mktemp("ablations") / "world"))
    for number, name in enumerate(MORE):
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


def test_ablations_are_those_of_the_settings(world: Results):
    found = {s.key: [name for _, name in s.points] for s in sweeps(world.params)}
    assert found == {
        "adapt.tuned_blocks": ["blocks_0", "grmp", "blocks_3"],
        "prompts.visual_layers": ["shallow", "random"],  # 0 means all of them
        "prompts.classes": ["random", "words"],
    }
    strength = gradient.ablation_of(world.params, "grmp", "strength")
    assert [(value_text("strength", v), n) for v, n in strength.points] == [
        ("0", "meta"),
        ("5", "grmp"),
        ("20", "strong"),
    ]
    assert gradient.ablation_of(world.params, "random", "strength").points == []


def test_rules_and_their_questions(world: Results):
    assert gradient.rules(world.params, "grmp") == ["grmp", "meta", "prograd"]
    asked = [("As published, λ = 5", "grmp", "meta"), ("ProGrad, λ = 1", "prograd", "meta")]
    assert gradient.variants(world.params, "grmp") == asked


def test_effects_are_those_of_the_records(world: Results):
    asked = ablation.parts(world.params)
    assert len(asked) == 4
    found = comparisons.effects(world, asked)
    row = comparisons.at(found, question="Gradient rule, random prompts", database="beta").iloc[0]
    by = world.scores.query("database == 'beta' and shots == 25").pivot(index="split", columns="method", values="srcc")
    e = world.params.evaluate
    expected = interval(by["random_qgr"] - by["random"], e.level, e.resamples, e.seed)
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
    found = sweeps(world.params)
    table = ablation.sweep_table(world, found, TARGETS, "25")
    assert len(table.shown) == sum(len(s.points) for s in found) * len(TARGETS)
    one = comparisons.at(world.summary, database="beta", method="blocks_0", shots=25, metric="srcc").iloc[0]
    row = table.shown.iloc[1]
    assert row["SRCC"] == f"{one['median']:.3f} [{one['median_low']:.3f}, {one['median_high']:.3f}]"
    assert table.shown["Difference"].tolist().count("default") == len(found) * len(TARGETS)
    assert "–" not in table.note


DRAWN = {
    "parts": lambda w: comparisons.forest(w, comparisons.effects(w, ablation.parts(w.params)), shared=True),
    "sweeps": lambda w: ablation.sweep_figure(w, sweeps(w.params), TARGETS, "25"),
    "strength": lambda w: gradient.strength(w, "grmp", TARGETS, "25"),
    "angles": lambda w: gradient.angles(w, gradient.rules(w.params, "grmp"), TARGETS, "25"),
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
    found = sweeps(empty.params)
    table = ablation.sweep_table(empty, found, TARGETS, 25)
    assert "`grmp sweep` (one of them: " in table.note
    assert set(table.shown["SRCC"]) == {"–"}
    assert "`grmp run alpha grmp 25 --protocol sound`" in gradient.rule_table(empty, "grmp", TARGETS, 25).note
    asked = ablation.parts(empty.params)
    assert (
        "Not run: Meta-learned prompts, without the rule needs"
        in comparisons.effect_table(empty, comparisons.effects(empty, asked), asked, "").note
    )
    assert "`dvc repro`" in distortions.distortion_table(empty, ["grmp"], 25, None).note


def test_a_rule_that_no_grid_asks_for_is_said_to_be_so(tmp_path: Path):
    make_settings(tmp_path)
    with_ablations(tmp_path)
    raw = yaml.safe_load((tmp_path / "params.yaml").read_text())
    raw["run"]["ablation"]["methods"] = ["lambda"]
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
