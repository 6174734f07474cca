"""Two protocols, other databases and shares of the labels: numbers as the records have them."""

import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grmp.report import cross_dataset, few_shot, selection
from grmp.report.results import Results
from grmp.report.selection import both_ways, reading_table, unpaired
from tests.report.sample import DATABASES, METHODS, SHARES, edit, editing, recollect, run_here


def test_unpaired_interval_holds_the_known_shift():
    rng = np.random.default_rng(0)
    b = rng.normal(0.4, 0.02, 100)
    a = b + 0.1
    value, low, high = unpaired(a, b, 0.95, 2000, 0)
    assert value == pytest.approx(np.median(a) - np.median(b))
    assert low < 0.1 < high
    assert high - low < 0.03
    assert unpaired(a, b, 0.95, 2000, 0) == (value, low, high)  # its own generator
    assert unpaired(np.array([0.5, np.nan]), b, 0.95, 200, 0)[0] == pytest.approx(0.5 - np.median(b))
    assert np.isnan(unpaired(np.array([0.5]), b, 0.95, 200, 0)[1:]).all()


def test_protocols_side_by_side(whole: Results):
    data = both_ways(whole, "published", "sound")
    assert len(data) == len(DATABASES) * len(METHODS) * 2  # the shares have no published side
    row = data.query("database == 'beta' and method == 'grmp' and shots == 50").iloc[0]
    for protocol in ("published", "sound"):
        summary = whole.under(protocol).summary.query("database == 'beta' and method == 'grmp' and metric == 'srcc'")
        assert row[protocol] == summary[summary["shots"] == 50]["median"].iloc[0]
    assert row["gain"] == pytest.approx(row["published"] - row["sound"], abs=1e-6)  # the tables keep six decimals
    assert row["gain_low"] <= row["gain"] <= row["gain_high"]
    assert "unpaired" in selection.protocol_table(whole, "published", "sound").note


def test_a_protocol_not_run_is_a_hole(empty: Results):
    table = selection.protocol_table(empty, "published", "sound")
    assert table.data.empty
    assert "`dvc repro" in table.note


def test_the_page_of_a_folder_with_one_protocol_says_so(world: Path):
    with editing(world) as raw:
        del raw["protocols"]["published"], raw["variants"]["reptile_published"]
        raw["pretrain"]["variants"] = ["reptile"]
        raw["run"]["few_shot"]["protocols"] = ["sound"]
    opened = Results.open(world)
    assert selection.protocol_table(opened, "published", "sound") is None
    assert selection.protocol_figure(opened, "published", "sound", 25) is None
    notes = {note["name"]: note for note in run_here("selection", world, figures=False)}
    assert (notes["protocols"]["kind"], notes["protocols"]["command"]) == ("hole", "")


def test_reading_the_test_split_is_a_declared_ablation(world: Path):
    """A copy of a method that chooses its epoch on the test split is held against the method, split by split."""
    assert reading_table(Results.open(world)) is None
    ablation = {"base": "grmp", "key": "adapt.select", "title": "epoch", "label": "peeks", "values": {"peek": "test"}}
    with editing(world) as raw:
        raw["ablations"]["select"] = ablation
    runs = world / "results/runs/sound/alpha"
    edit(shutil.copytree(runs / "grmp/25", runs / "peek/25"), method="peek")
    scores = pd.read_csv(world / "results/scores.csv", dtype={"shots": str})
    copied = scores.query("protocol == 'sound' and database == 'alpha' and method == 'grmp' and shots == '25'")
    better = copied.assign(method="peek", srcc=copied["srcc"] + 0.01)
    pd.concat([scores, better]).to_csv(world / "results/scores.csv", index=False)
    table = reading_table(Results.open(world))
    assert table.data["mean"].tolist() == pytest.approx([0.01])
    assert table.data["won"].tolist() == [5]
    assert table.data[["method", "against"]].to_numpy().tolist() == [["peek", "grmp"]]
    assert table.shown["Interval"].tolist() == ["above 0"]


def test_shares_stand_in_their_table_and_curves(whole: Results):
    table = few_shot.score_table(whole, "full", SHARES, ["srcc"])
    assert list(table.shown.columns) == ["Database", "Method", "SRCC, 20 %", "SRCC, 100 %"]
    one = whole.summary.query("database == 'gamma' and method == 'ridge' and shots == '20pct' and metric == 'srcc'")
    assert table.shown["SRCC, 20 %"].iloc[0].strip("*").startswith(f"{one['median'].iloc[0]:.3f} [")
    axes = few_shot.curves(whole, "full", SHARES).axes[0]
    assert [t.get_text() for t in axes.get_xticklabels()] == ["20 %", "100 %"]


def test_the_page_of_shares_is_under_the_protocol_of_its_grid(world: Path):
    runs = world / "results/runs"
    (runs / "sound/gamma/grmp/20pct").parent.rename(runs / "published/gamma/moved")
    shutil.rmtree(runs / "published/gamma/grmp")
    (runs / "published/gamma/moved").rename(runs / "published/gamma/grmp")
    for record in (runs / "published/gamma/grmp").iterdir():
        edit(record, protocol="published")
    with editing(world) as raw:
        raw["run"]["full"]["protocols"] = ["published"]
    recollect(world)
    run_here("full_supervision", world, figures=False)
    assert len(pd.read_csv(world / "results/tables/full_supervision/scores_srcc.csv")) == len(SHARES)


def test_an_empty_grid_is_no_table(world: Path):
    with editing(world) as raw:
        raw["run"]["full"]["databases"] = raw["run"]["cross"]["databases"] = []
    opened = Results.open(world)
    assert few_shot.score_table(opened, "full", SHARES) is None
    assert few_shot.curves(opened, "full", SHARES) is None
    assert cross_dataset.matrix(opened, 50) is None
    assert cross_dataset.transfer(opened) is None


def test_other_published_methods_are_ticks(world: Path):
    (world / "published.csv").write_text(
        "table,dataset,setting,method,metric,value,source,note\n"
        "data_efficiency,gamma,20%,Theirs,srcc,0.7,a paper,\nfull,gamma,80/20,GRMP-IQA,srcc,0.9,a paper,\n"
        "cross_dataset,alpha->gamma,50,Theirs,srcc,0.6,a paper,\n"
    )
    opened = Results.open(world)
    axes = few_shot.curves(opened, "full", SHARES).axes[0]
    drawn = {line.get_marker(): float(line.get_ydata()[0]) for line in axes.lines if line.get_marker() in "*_"}
    assert drawn == {"*": 0.9, "_": 0.7}
    assert "Theirs, published" in few_shot.score_table(opened, "cross", [50]).shown["Method"].tolist()
