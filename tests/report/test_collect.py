"""Records in, tables out."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grmp.metrics import METRICS, scores
from grmp.params import load
from grmp.report.collect import COLUMNS, collect
from tests.report.sample import edit, editing, make_prepared, make_record, make_settings, seal

CELL = Path("results/runs/sound/alpha/meta/25")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database, two methods, two shot counts, collected; do not change what is in it."""
    world = make_settings(tmp_path_factory.mktemp("collect"))
    index = make_prepared(world, "alpha", "simulated", 0)
    for method in ("random", "meta"):
        for shots in (25, 50):
            make_record(world, "alpha", method, shots, index)
    run(world)
    return world


@pytest.fixture
def tables(made: Path) -> dict[str, pd.DataFrame]:
    return read(made)


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "world")


def run(world: Path) -> dict[str, pd.DataFrame]:
    collect(load(world / "params.yaml"), world / "results")
    return read(world)


def read(world: Path) -> dict[str, pd.DataFrame]:
    return {name.removesuffix(".csv"): pd.read_csv(world / "results" / name) for name in COLUMNS}


def predict(world: Path, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Change the predictions of the record."""
    path = world / CELL / "predictions.csv"
    change(pd.read_csv(path)).to_csv(path, index=False)
    seal(world / CELL)


def test_scores_are_those_of_the_predictions(made: Path, tables: dict[str, pd.DataFrame]):
    found = tables["scores"]
    assert len(found) == 2 * 2 * 5
    assert found["method"].drop_duplicates().tolist() == ["random", "meta"]  # the order of params.yaml
    given = pd.read_csv(made / CELL / "predictions.csv")
    given = given[given["split"] == 3]
    row = found[(found["method"] == "meta") & (found["shots"] == 25) & (found["split"] == 3)].iloc[0]
    expected = scores(given["quality"], given["score"], 0, 9)
    assert [row[m] for m in METRICS] == pytest.approx([expected[m] for m in METRICS], abs=1e-6)
    assert row["status"] == "ok"


def test_summary_and_metrics(made: Path, tables: dict[str, pd.DataFrame]):
    one = tables["summary"].query("method == 'meta' and shots == 50 and metric == 'srcc'").iloc[0]
    srcc = tables["scores"].query("method == 'meta' and shots == 50")["srcc"]
    assert one["median"] == pytest.approx(srcc.median(), abs=1e-6)
    assert one["median_low"] <= one["median"] <= one["median_high"]
    metrics = json.loads((made / "results/metrics.json").read_text())
    assert metrics["sound alpha meta 50"] == pytest.approx(one["median"], abs=5e-5)
    assert metrics["sound meta - random"] is None  # the primary endpoint needs every database
    asked = set(tables["pairs"]["method"])
    assert {name.split()[2] for name in metrics if " - " not in name} <= asked  # the headline alone


def test_pairs_are_taken_split_by_split(tables: dict[str, pd.DataFrame]):
    row = tables["pairs"].query("shots == '25' and metric == 'srcc'").iloc[0]
    by = tables["scores"].query("shots == 25").pivot(index="split", columns="method", values="srcc")
    assert row["mean"] == pytest.approx((by["meta"] - by["random"]).mean(), abs=2e-6)
    assert row["won"] == (by["meta"] > by["random"]).sum()
    assert (row["method"], row["against"], row["status"]) == ("meta", "random", "ok")
    assert (row["role"], row["rule"]) == ("exploratory", "two-way bootstrap")
    assert np.isnan(row["p_holm"])
    assert not (tables["pairs"]["method"] == "grmp").any()  # not run: no row, no zero


def test_same_records_same_bytes(world: Path):
    names = [*COLUMNS, "metrics.json", "cost.json"]
    before = {name: (world / "results" / name).read_bytes() for name in names}
    shutil.copytree(world / "results/runs", world / "copy")
    shutil.rmtree(world / "results/runs")
    for folder in sorted((world / "copy").glob("*/*/*"), reverse=True):  # another order on the disk
        shutil.copytree(folder, world / "results/runs" / folder.relative_to(world / "copy"))
    run(world)
    assert {name: (world / "results" / name).read_bytes() for name in names} == before


def test_times_do_not_touch_the_tables(world: Path):
    before = [(world / "results" / name).read_bytes() for name in COLUMNS]
    edit(world / CELL, seconds=[9.0] * 5)
    run(world)
    assert [(world / "results" / name).read_bytes() for name in COLUMNS] == before
    assert {c["seconds"] for c in json.loads((world / "results/cost.json").read_text())} == {7.5, 45.0}


def test_records_that_cannot_be_used_are_named_and_left_out(world: Path, capsys: pytest.CaptureFixture[str]):
    (world / CELL / "run.json").unlink()
    make_record(world, "alpha", "meta", 100, pd.read_csv(world / "data/prepared/alpha/index.csv"))
    tables = run(world)
    assert tables["excluded"].to_numpy().tolist() == [
        ["sound/alpha/meta/100", "not requested by the group run of params.yaml"],
        ["sound/alpha/meta/25", "run.json is missing"],
    ]
    left = set(zip(tables["scores"]["method"], tables["scores"]["shots"], strict=True))
    assert left == {("random", 25), ("random", 50), ("meta", 50)}
    assert tables["scores"]["srcc"].notna().all()
    assert "sound/alpha/meta/25: run.json is missing" in capsys.readouterr().out


def test_a_record_being_written_is_no_record(world: Path):
    (world / CELL).rename((world / CELL).with_name(".25.abc.partial"))
    tables = run(world)
    assert tables["excluded"].empty
    assert len(tables["scores"]) == 15


def test_failed_and_constant_splits_are_said_to_be_so(world: Path):
    edit(world / CELL, status=["ok", "failed: loss is not finite at epoch 3", "ok", "ok", "ok"])
    predict(world, lambda t: t[t["split"] != 1].assign(score=lambda t: t["score"].where(t["split"] != 2, 0.5)))
    tables = run(world)
    status = tables["scores"].query("method == 'meta' and shots == 25")["status"].tolist()
    assert status[1:3] == ["failed: loss is not finite at epoch 3", "constant predictions"]
    one = tables["summary"].query("method == 'meta' and shots == 25 and metric == 'srcc'").iloc[0]
    assert (one["splits"], one["scored"]) == (5, 3)
    assert one["status"] == "1 of 5 splits: constant predictions; 1 of 5 splits: failed: loss is not finite at epoch 3"
    pair = tables["pairs"].query("shots == '25' and metric == 'srcc'").iloc[0]
    assert (pair["splits"], pair["scored"]) == (5, 3)


def test_all_splits_failed(world: Path):
    edit(world / CELL, status=["failed: no"] * 5)
    predict(world, lambda t: t.head(0))
    tables = run(world)
    assert tables["scores"].query("method == 'meta' and shots == 25")["srcc"].isna().all()
    assert json.loads((world / "results/metrics.json").read_text())["sound alpha meta 25"] is None


def test_runs_that_differ_are_never_compared(world: Path):
    edit(world / CELL, inputs={"splits": "1" * 64, "backbone": "9" * 64, "database": "3" * 64})
    row = run(world)["pairs"].query("shots == '25' and metric == 'srcc'").iloc[0]
    assert row["status"] == "not comparable: another backbone"
    assert np.isnan([row["mean"], row["p"], row["p_holm"]]).all()


def test_rmse_needs_the_database(world: Path):
    shutil.rmtree(world / "data")
    table = run(world)["scores"]
    assert table["rmse"].isna().all()
    assert table["srcc"].notna().all()


def test_nothing_run_yet(tmp_path: Path):
    tables = run(make_settings(tmp_path))
    assert all(table.empty and list(table.columns) == COLUMNS[f"{name}.csv"] for name, table in tables.items())


def test_a_method_may_differ_in_what_it_sets_for_itself(world: Path):
    given = json.loads((world / CELL / "run.json").read_text())["parameters"]
    edit(world / CELL, parameters=given | {"adapt": given["adapt"] | {"epochs": 1}})
    assert run(world)["pairs"].query("shots == '25'")["status"].str.contains("adapt.epochs").sum() == 2  # srcc and plcc
    with editing(world) as raw:
        raw["methods"]["meta"]["set"] = {"adapt.epochs": 1}
    assert (run(world)["pairs"].query("shots == '25'")["status"] == "ok").all()
