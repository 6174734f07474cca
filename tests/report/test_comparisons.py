"""Paired differences: which runs are compared, and that tables and figures hold what pairs.csv and the records hold."""

import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from matplotlib.collections import PathCollection

from grmp.metrics import interval
from grmp.params import Pair
from grmp.report import comparisons
from grmp.report.results import Results
from tests.report.sample import DATABASES, SHOTS, edit, settings


def test_answers_are_of_one_grid():
    databases, shots = ["alpha", "alpha", "all", "alpha_to_gamma", "alpha_to_gamma"], [50, "20pct", "all", 50, "20pct"]
    cells = pd.DataFrame({"database": databases, "shots": pd.Series(shots, dtype=object), "metric": "srcc"})
    world = SimpleNamespace(pairs=cells)
    found = {kind: comparisons.answers(world, kind)["shots"].tolist() for kind in ("few_shot", "full", "cross")}
    assert found == {"few_shot": [50, "all"], "full": ["20pct"], "cross": [50, "20pct"]}


def test_forest_shows_the_pairs(whole: Results):
    figure = comparisons.forest(whole, comparisons.answers(whole))
    assert [a.get_title("left") for a in figure.axes] == [p["question"] for p in settings()["evaluate"]["pairs"]]
    middles = [line.get_xdata()[0] for line in figure.axes[0].lines if len(line.get_xdata()) == 1]
    cells = whole.pairs.query("method == 'meta' and metric == 'srcc' and database != 'all'")
    assert middles == pytest.approx(cells["mean"].to_numpy())
    assert len(middles) == len(DATABASES) * len(SHOTS)
    dots = np.concatenate([c.get_offsets()[:, 0] for c in figure.axes[0].collections if isinstance(c, PathCollection)])
    scores = whole.scores.set_index(["database", "shots", "split"])
    apart = [scores.loc[scores["method"] == name, "srcc"] for name in ("meta", "random")]
    assert sorted(dots) == pytest.approx(sorted(apart[0] - apart[1]))


def test_pair_table_counts_and_judges(whole: Results):
    table = comparisons.answer_table(whole)
    row = whole.pairs.query("metric == 'srcc'").iloc[0]
    assert table.shown["Won"].iloc[0] == f"{row['won']:.0f} of 5"
    assert set(table.shown["Interval"]) <= {"above 0", "below 0", "includes 0"}
    above = [s == "above 0" for s in table.shown["Interval"]]
    assert above == (table.data["low"] > 0).tolist()


def test_effects_are_those_of_the_records(ablated: Results):
    asked = ablated.params.report.parts
    assert len(asked) == 4
    found = comparisons.effects(ablated, asked)
    row = comparisons.at(found, question="Gradient rule, random prompts", database="beta").iloc[0]
    scores = ablated.scores.query("database == 'beta' and shots == 25")
    by = scores.pivot(index="split", columns="method", values="srcc")
    e = ablated.params.evaluate
    expected = interval(by["random_qgr"] - by["random"], e.level, e.resamples, e.seed)
    assert {key: row[key] for key in expected} == pytest.approx(expected)
    cells = found.groupby("question", sort=False).size()
    assert cells.tolist() == [6, 2, 2, 6]  # what has no partner has no row
    table = comparisons.effect_table(ablated, found, asked, "Parts")
    assert len(table.shown) == 16
    assert "Not run" not in table.note


def test_runs_on_other_images_are_not_compared(ablated: Results, tmp_path: Path):
    folder = shutil.copytree(ablated.root, tmp_path / "world")
    edit(folder / "results/runs/sound/alpha/random_qgr/25", inputs={"database": "9" * 64})
    found = comparisons.effects(Results.open(folder), [Pair(question="q", method="random_qgr", against="random")])
    assert found["database"].tolist() == ["beta"]
