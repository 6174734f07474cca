"""Which runs are compared, over which cells a question is answered, and what an interval covers."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grmp.data.dataset import prepared
from grmp.experiments.record import read_record
from grmp.metrics import holm
from grmp.report.collect import score_table
from grmp.report.pairs import ALL, CELL, Differences, pair_table
from grmp.report.results import Results


def test_one_primary_endpoint_a_question_and_one_family(whole: Results):
    pairs = whole.table("pairs.csv")
    primary = pairs[pairs["role"] == "primary"]
    assert primary["question"].tolist() == [pair.question for pair in whole.params.evaluate.pairs]
    assert (primary[["protocol", "database", "shots", "metric"]] == ["sound", ALL, ALL, "srcc"]).all(axis=None)
    np.testing.assert_allclose(primary["p_holm"], holm(primary["p"].tolist()), atol=2e-6)
    assert pairs[pairs["role"] != "primary"]["p_holm"].isna().all()
    assert set(pairs["role"]) == {"primary", "exploratory"}


def test_a_method_outside_the_few_shot_grid_has_no_endpoint(whole: Results):
    few = whole.params.run.few_shot
    less = few.model_copy(update={"methods": [name for name in few.methods if name != "grmp"]})
    run = whole.params.run.model_copy(update={"few_shot": less})
    records = [whole.record("beta", method, 25) for method in ("grmp", "meta", "random")]
    known = {"beta": whole.dataset("beta")}
    table = pair_table(whole.params.model_copy(update={"run": run}), known, records, whole.scores)
    assert set(table.loc[table["method"] == "grmp", "role"]) == {"exploratory"}
    assert "primary" in set(table.loc[table["method"] == "meta", "role"])


def test_the_endpoint_is_the_mean_over_cells(whole: Results):
    rows = whole.pairs.query("method == 'meta' and metric == 'srcc'")
    cells, (endpoint,) = rows[rows["database"] != ALL], rows[rows["database"] == ALL].itertuples()
    assert len(cells) == 6
    assert endpoint.mean == pytest.approx(cells["mean"].mean(), abs=2e-6)
    assert endpoint.high - endpoint.low < (cells["high"] - cells["low"]).min()  # three databases know more than one


def test_shares_and_counts_have_their_own_rule(whole: Results):
    differences = Differences(whole.params, whole.dataset, dict(iter(whole.scores.groupby(CELL))))
    found = {
        (database, shots): differences.of([tuple(whole.record(database, m, shots) for m in ("grmp", "ridge"))], "srcc")[
            "rule"
        ]
        for database, shots in (("gamma", 25), ("gamma", "20pct"), ("alpha_to_gamma", 50))
    }
    assert found == {
        ("gamma", 25): "two-way bootstrap",
        ("gamma", "20pct"): "corrected t",
        ("alpha_to_gamma", 50): "two-way bootstrap",
    }


def test_images_of_a_source_are_drawn_together(whole: Results, tmp_path: Path):
    """alpha has six images a source: an interval that took them for independent ones would be another."""
    folder = tmp_path / "data/prepared/alpha"
    shutil.copytree(whole.root / "data/prepared/alpha", folder)
    runs = [tuple(whole.record("alpha", m, 25) for m in ("meta", "zero_shot"))]
    scores = dict(iter(whole.scores.groupby(CELL)))
    by_source = Differences(whole.params, partial(prepared, tmp_path), scores).of(runs, "srcc")
    index = pd.read_csv(folder / "index.csv")
    index.assign(reference="").to_csv(folder / "index.csv", index=False)
    by_image = Differences(whole.params, partial(prepared, tmp_path), scores).of(runs, "srcc")
    assert by_source["mean_low"] == by_image["mean_low"]
    assert by_source["low"] != by_image["low"]


def test_unknown_sources_give_no_interval(whole: Results, tmp_path: Path):
    runs = [tuple(whole.record("alpha", m, 25) for m in ("meta", "random"))]
    found = Differences(whole.params, partial(prepared, tmp_path), dict(iter(whole.scores.groupby(CELL)))).of(
        runs, "srcc"
    )
    assert np.isnan([found["low"], found["p"]]).all()
    assert "not prepared" in found["rule"]
    assert np.isfinite(found["mean"])


def test_differences_are_those_of_the_predictions(whole: Results):
    records = [read_record(whole.root / f"results/runs/sound/beta/{m}/50") for m in ("grmp", "meta")]
    table = score_table(records, {})
    found = Differences(whole.params, whole.dataset, dict(iter(table.groupby(CELL)))).of([tuple(records)], "plcc")
    grmp, meta = (table[table["method"] == m]["plcc"].to_numpy() for m in ("grmp", "meta"))
    assert found["differences"] == pytest.approx((grmp - meta).tolist())
    assert found["won"] == (grmp > meta).sum()
    assert found["low"] < found["mean"] < found["high"]
