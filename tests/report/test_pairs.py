"""Which runs are compared, over which cells a question is answered, and what an interval covers."""

import shutil
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grmp.data.dataset import prepared
from grmp.metrics import holm
from grmp.report.pairs import ALL, CELL, SAME_INPUTS, Differences, incomparable, pair_table
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


def test_what_two_runs_must_share(whole: Results):
    one, other = (whole.record("alpha", method, 25).run for method in ("meta", "random"))
    assert incomparable(whole.params, one, other) == ""
    for name in SAME_INPUTS:
        apart = [run.model_copy(update={"inputs": {name: digit * 64}}) for run, digit in ((one, "1"), (other, "9"))]
        assert incomparable(whole.params, *apart) == f"another {name}"
    apart = other.model_copy(update={"parameters": other.parameters | {"splits": 7}})
    assert incomparable(whole.params, one, apart) == "other settings (splits)"


def difference(results: Results, known, methods, database, shots, metric="srcc") -> dict:
    """What ``Differences`` finds for two methods; ``known`` gives a database by its name."""
    differences = Differences(results.params, known, dict(iter(results.scores.groupby(CELL))))
    return differences.of([tuple(results.record(database, method, shots) for method in methods)], metric)


def test_shares_and_counts_have_their_own_rule(whole: Results):
    cells = [("gamma", 25), ("gamma", "20pct"), ("alpha_to_gamma", 50)]
    rules = [difference(whole, whole.dataset, ("grmp", "ridge"), *cell)["rule"] for cell in cells]
    assert rules == ["two-way bootstrap", "corrected t", "two-way bootstrap"]


def test_images_of_a_source_are_drawn_together(whole: Results, tmp_path: Path):
    """alpha has six images a source: an interval that took them for independent ones would be another."""
    folder = shutil.copytree(whole.root / "data/prepared/alpha", tmp_path / "data/prepared/alpha")
    cell = partial(prepared, tmp_path), ("meta", "zero_shot"), "alpha", 25
    by_source = difference(whole, *cell)
    pd.read_csv(folder / "index.csv").assign(reference="").to_csv(folder / "index.csv", index=False)
    by_image = difference(whole, *cell)
    assert by_source["mean_low"] == by_image["mean_low"]
    assert by_source["low"] != by_image["low"]


def test_unknown_sources_give_no_interval(whole: Results):
    found = difference(whole, lambda name: None, ("meta", "random"), "alpha", 25)
    assert np.isnan([found["low"], found["p"]]).all()
    assert "not prepared" in found["rule"]
    assert np.isfinite(found["mean"])


def test_differences_are_taken_split_by_split(whole: Results):
    found = difference(whole, whole.dataset, ("grmp", "meta"), "beta", 50, "plcc")
    by = whole.scores.query("database == 'beta' and shots == 50").pivot(index="split", columns="method", values="plcc")
    assert found["differences"] == pytest.approx((by["grmp"] - by["meta"]).tolist())
    assert found["won"] == (by["grmp"] > by["meta"]).sum()
    assert found["low"] < found["mean"] < found["high"]
