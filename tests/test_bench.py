"""The plain recipe and ours give the same; the bench writes what it measured."""

import time
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from skimage import data

from bench import __main__ as bench
from bench import alternatives, batch, bfloat16, false_positives, growth, intervals, related, rounding, weights
from bench.measure import counted, timed
from bench.work import ON_GPU, WORK, Setting
from grmp.methods.context import open_context
from grmp.params import RunKey, load
from grmp.report.plotting import save
from tests import worlds
from tests.conftest import ROOT
from tests.finetune.test_loop import SHAPE

CPU = torch.device("cpu")


@pytest.fixture
def setting():
    return Setting(CPU, images=3, shape=SHAPE, prompts=5)


SMALL = {"splits": {"count": 2, "size": 30, "epochs": 12}}


@pytest.mark.parametrize("name", sorted(WORK))
def test_recipes_agree(setting, name):
    work = WORK[name](setting, **SMALL.get(name, {}))
    plain, ours = (recipe() for recipe in work.recipes.values())
    assert work.difference(plain, ours) <= 1e-5
    assert work.difference(plain, [t + 1e-3 for t in ours]) > 1e-4


def test_ours_counts_fewer_operations(setting):
    plain, ours = bench.compare("evaluation", setting, 1, 1e9)
    assert 0 < ours["gflop"] < plain["gflop"]
    assert ours["largest_difference"] <= 1e-5
    assert plain["ratio"] == 1


def test_operations_are_those_of_the_shapes():
    a, b = torch.ones(4, 5), torch.ones(5, 6)
    assert counted(lambda: a @ b)[1] == 2 * 4 * 5 * 6


def test_memory_is_that_of_the_recipe():
    _, large, _ = timed(lambda: torch.ones(50 * 2**18).sum(), CPU)  # 50 MiB
    assert 40 * 2**20 < large < 90 * 2**20


@pytest.mark.slow
def test_command_writes_csv_and_figure(monkeypatch, tmp_path):
    monkeypatch.setattr(bench, "VIT_B16", SHAPE)
    bench.main(["--repeats", "1", "--images", "2", "--shots", "3", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "cpu.csv")
    assert set(table["work"]) == set(WORK) - set(ON_GPU)
    assert (table["largest_difference"] < 1e-4).all()
    assert (tmp_path / "cpu.png").stat().st_size > 1000


def test_growth_writes_csv_and_figure(monkeypatch, tmp_path):
    sizes = {"test images": (10,), "shots": (4, 8), "splits": (1,), "methods": (1,)}
    monkeypatch.setattr(growth, "SIZES", sizes)
    monkeypatch.setattr(growth, "SMALLEST", {q: s[0] for q, s in sizes.items()})
    monkeypatch.setattr(growth, "EPOCHS", 1)
    bench.main(["growth", "--repeats", "1", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "growth.csv")
    assert table[["quantity", "size"]].to_numpy().tolist() == [[q, n] for q, s in sizes.items() for n in s]
    assert (table["seconds"] > 0).all()
    assert (tmp_path / "growth.png").stat().st_size > 1000


def test_alternatives_score_the_same_photographs(monkeypatch, tmp_path):
    for i in range(4):
        Image.fromarray(data.astronaut()[40 * i :]).save(tmp_path / f"{i}.jpg")
    seen = []
    scorers = {alternatives.OURS: lambda: seen.append, "slow": lambda: lambda path: time.sleep(0.02)}
    monkeypatch.setattr(alternatives, "SCORERS", scorers)
    alternatives.main([str(tmp_path), "--images", "3", "--block", "2", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "alternatives.csv").set_index("scorer")
    assert len(set(seen)) == 3
    assert table["images"].tolist() == [3, 3]
    assert table.loc[alternatives.OURS, ["ratio", "ratio_low", "ratio_high"]].tolist() == [1, 1, 1]
    assert table.loc["slow", "ratio_low"] > 1
    assert (tmp_path / "alternatives.png").stat().st_size > 1000


def test_batches_are_compared_in_the_same_repetition(tmp_path):
    batch.main(["--repeats", "2", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "batch.csv").set_index(["precision", "batch"])
    assert {*table.index} == {(p, n) for p in ("float32", "float16") for n in batch.SIZES}
    assert (table.xs(1, level="batch")[["ratio", "low", "high"]] == 1).all(axis=None)
    assert (table["low"] <= table["ratio"]).all()
    assert (table["ratio"] <= table["high"]).all()


def test_bfloat16_is_compared_on_the_same_images(tmp_path):
    Image.fromarray(data.astronaut()).save(tmp_path / "a.png")
    Image.fromarray(data.chelsea()).save(tmp_path / "b.png")
    (tmp_path / "c.png").write_bytes(b"no image")
    bfloat16.main([str(tmp_path), "--out", str(tmp_path)])
    (row,) = pd.read_csv(tmp_path / "bfloat16.csv").to_dict("records")
    assert row["images"] == 2
    assert row["ratio_5"] <= row["ratio"] <= row["ratio_95"]
    assert 0 < row["mean_change"] <= row["largest_change"] < 0.1


def test_of_biq2021_only_the_training_part_is_read(tmp_path):
    (tmp_path / "Images").mkdir()
    for name in ("a (1).JPG", "b (1).jpg"):
        (tmp_path / "Images" / name).touch()
    (tmp_path / "Train (Images and MOS).csv").write_text("Image Name,MOS\na (1).jpg,0.5\n")
    assert [path.name for path in alternatives.photographs(tmp_path)] == ["a (1).JPG"]


def test_false_positives_are_counted(tmp_path, monkeypatch):
    monkeypatch.setattr(false_positives, "WORLDS", ((100, 20, 5, 0.5, 0), (100, 20, 5, 0.5, 2)))
    bench.main(["false_positives", "--worlds", "30", "--out", str(tmp_path)])
    table = pd.read_csv(tmp_path / "false_positives.csv")
    assert table["over_splits"].min() > 0.1  # too narrow for other images
    assert table["two_way"].max() <= 0.1
    assert table["corrected_t"][0] <= 0.1


def test_rules_that_the_pages_rely_on_keep_their_level():
    table = pd.read_csv(bench.RESULTS / "false_positives.csv")
    assert (table["worlds"] >= 400).all()
    assert set(table["runs"]) == {0, 3}
    assert table["two_way"].max() <= 0.07
    assert table.loc[table["runs"] == 0, "corrected_t"].max() <= 0.07


def test_intervals_of_exchangeable_images_cover_as_promised():
    rng = np.random.default_rng(0)
    x, weights = rng.normal(size=(1050, 5)), np.array([0.05, -0.05, 0.02, 0.0, 0.0])
    quality = (0.5 + x @ weights + rng.normal(0, 0.05, 1050)).clip(0, 1)
    assert np.mean([covered for covered, _ in intervals.few(x, quality)]) == pytest.approx(0.9, abs=0.03)


def test_a_schedule_that_rounding_decides_is_told_from_a_stable_one(tmp_path):
    """A millionth of every weight: at a small rate training ends where it did, at a huge one somewhere else.

    Of two huge ones: by chance, the six test images may keep their order at one of them.
    """
    file = worlds.build(tmp_path / "w")
    context = open_context(load(file), file.parent, RunKey("sound", "target", "random_prompts", 6))
    moved = rounding.perturbed(context.backbone, 0)
    apart = (moved.weights["visual.proj"] / context.backbone.weights["visual.proj"] - 1).abs()
    assert 1e-7 < apart.mean() < 1e-5
    found = {}
    for rate, epochs in ((1e-3, 5), (5.0, 80), (30.0, 80)):
        adapt = context.params.adapt.model_copy(update={"learning_rate": rate, "epochs": epochs})
        changed = replace(context, params=context.params.model_copy(update={"adapt": adapt}))
        found[rate] = rounding.stability(changed, "random_prompts", 3)[1]
    assert found[1e-3] < 0.005
    assert not (found[5.0] < 0.1 and found[30.0] < 0.1)


def test_no_method_of_the_demo_is_decided_by_rounding():
    """As measured on a database of pre-training: bench/results/rounding.csv."""
    table = pd.read_csv(bench.RESULTS / "rounding.csv").set_index(["protocol", "method"])
    assert {*table.index} == {*rounding.grid(load(ROOT / "demo/params.yaml"))}, "run: python -m bench.rounding sim_pre2"
    assert table["change"]["sound"].max() <= rounding.TOLERANCE
    assert table["change"]["published"].max() <= 0.01, "float16"


def test_every_point_of_the_related_papers_is_in_a_file_with_its_source(tmp_path):
    needs = pd.read_csv(related.DOCS / "related.csv")
    published = pd.read_csv(related.PUBLISHED, dtype=str)
    assert needs["source"].notna().all()
    figure = related.draw(needs, published)
    papers = [label.get_text() for label in figure.axes[0].get_yticklabels()]
    for axis, quantity in zip(figure.axes[:-1], related.NEEDS, strict=True):
        (line,) = axis.lines
        shown = {p: x for p, x in zip(papers, line.get_xdata(), strict=True) if not pd.isna(x)}
        assert shown == needs[needs["quantity"] == quantity].dropna().set_index("paper")["value"].to_dict()
    assert related.reported("DEIQT, 50 labels", published)["livec"] == 0.667
    assert related.reported("DEIQT, 80 %", published)["livec"] == 0.875
    save(figure, tmp_path / "related")  # the committed figure is up to date: python -m bench.related
    drawn, committed = (Image.open(place / "related.png") for place in (tmp_path, related.DOCS / "_static"))
    assert drawn.convert("RGB").tobytes() == committed.convert("RGB").tobytes()


def test_weights_help_where_raters_of_some_images_disagree_much(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(weights, "DRAWS", 20)
    x, deviation = np.random.default_rng(0).normal(size=(300, 5)), np.tile([2.0, 50.0], 150)
    found = weights.compare(x, 50 + 8 * x.sum(axis=1), deviation)
    assert (found["weighted"] > found["equal"]).mean() > 0.7
