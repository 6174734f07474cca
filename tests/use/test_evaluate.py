"""Predictions of other methods: the same numbers as a run of ours with these predictions, and a place in tables and figures."""

import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import yaml
from typer.testing import CliRunner

from grmp import params as settings
from grmp.cli import app
from grmp.errors import UserError
from grmp.experiments import identity
from grmp.experiments.record import read_run
from grmp.experiments.sweep import outdated
from grmp.files import sha256
from grmp.params import RunKey
from grmp.report.collect import collect
from grmp.report.few_shot import curves, score_table
from grmp.report.results import Results
from grmp.use import evaluate as room
from tests.report import sample

KEY = RunKey("sound", "alpha", "mine", 25)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two runs of ours, on a prepared database."""
    root = tmp_path_factory.mktemp("world")
    (root / "params.yaml").write_text(yaml.safe_dump(sample.settings(), sort_keys=False))
    index = sample.make_prepared(root, "alpha", "simulated", 1)
    for method in ("grmp", "ridge"):
        sample.make_record(root, "alpha", method, 25, index)
    return root


@pytest.fixture
def mine(built: Path, tmp_path: Path) -> Path:
    """Our ridge regression as a table of someone else's, in another order."""
    rows = pd.read_csv(KEY._replace(method="ridge").folder(built) / "predictions.csv", dtype={"image": str})
    rows.sample(frac=1, random_state=0)[["image", "score", "split"]].to_csv(tmp_path / "mine.csv", index=False)
    return tmp_path / "mine.csv"


def evaluated(built: Path, mine: Path, against: str = "grmp", key: RunKey = KEY) -> dict[str, Any]:
    return room.evaluate(settings.load(built / "params.yaml"), built, mine, key, against, "my method")


def test_the_numbers_are_those_of_a_run_of_ours(built: Path, mine: Path):
    found, ours = evaluated(built, mine), evaluated(built, mine, "ridge")
    assert ours["differences"]["srcc"]["mean"] == 0
    collect(settings.load(built / "params.yaml"), built / "results")
    summary = pd.read_csv(built / "results/summary.csv").query("method == 'ridge' and metric == 'srcc'").iloc[0]
    for column in ("median", "median_low", "median_high"):
        assert found["medians"]["srcc"][column] == pytest.approx(summary[column], abs=1e-6)
    scores = pd.read_csv(built / "results/scores.csv").pivot(index="split", columns="method", values="srcc")
    apart = found["differences"]["srcc"]
    assert apart["mean"] == pytest.approx((scores["ridge"] - scores["grmp"]).mean(), abs=1e-5)
    assert apart["low"] < apart["mean"] < apart["high"]
    assert not KEY.folder(built).exists()  # nothing was added
    text = room.text(found).splitlines()
    assert text[0] == "my method on alpha, 25 labels, sound, 5 splits"
    assert text[-1].startswith("| alpha | my method | 25 | ")


@pytest.mark.parametrize("order", [["image", "split", "score"], ["image", "score", "split"]])
def test_whole_numbers_are_scores_in_any_order_of_columns(built: Path, mine: Path, order: list[str]):
    table = pd.read_csv(mine, dtype={"image": str})
    table.assign(score=table["score"].rank().astype(int))[order].to_csv(mine, index=False)
    assert evaluated(built, mine, "ridge")["differences"]["srcc"]["mean"] == pytest.approx(0)


@pytest.mark.parametrize(
    ("change", "said"), [(lambda s: 0 * s, "constant predictions"), (lambda s: -s, "predictions run against quality")]
)
def test_scores_that_say_nothing_get_a_comment(built: Path, mine: Path, change, said: str):
    table = pd.read_csv(mine, dtype={"image": str})
    table.assign(score=change(table["score"])).to_csv(mine, index=False)
    assert re.search(rf"[1-5] of 5 splits: .*{said}", room.text(evaluated(built, mine)))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda t: pd.concat([t, t.iloc[[7]]]), r"line 202: split \d has \d+\.png a second time \(1 such rows\)"),
        (
            lambda t: t.iloc[3:],
            r"3 missing test images: (split \d \d+\.png, ){2}split \d \d+\.png; /.*/data/splits/alpha/sound\.csv",
        ),
        (
            lambda t: t.assign(split=t["split"] + 1),
            r"\d+ rows that are not test images of alpha under protocol sound: split \d",
        ),
        (
            lambda t: t.assign(score=t["score"].astype(object).where(t.index != t.index[4], "n/a")),
            r"line 6: 'score' is not",
        ),
        (lambda t: t.drop(columns="split"), "has no column 'split'"),
    ],
)
def test_wrong_rows_are_named(built: Path, mine: Path, change, said: str):
    change(pd.read_csv(mine, dtype={"image": str})).to_csv(mine, index=False)
    with pytest.raises(UserError, match=said):
        evaluated(built, mine)


def test_an_added_method_stands_in_tables_and_figures_and_is_never_computed(built: Path, mine: Path):
    command = ["evaluate", str(mine), "--database", "alpha", "--shots", "25", "--params", str(built / "params.yaml")]
    plain = CliRunner().invoke(app, [*command, "--json"], catch_exceptions=False).output
    assert json.loads(plain)["differences"]["srcc"]["won"] <= 5
    assert plain.count("\n") == 1
    before = outdated_keys(built)
    for _ in range(2):  # adding it again replaces it
        added = CliRunner().invoke(app, [*command, "--add", "My method!"], catch_exceptions=False).output
        assert f"grmp collect --params {built}/params.yaml && grmp notebooks --params {built}/params.yaml" in added
    assert outdated_keys(built) == before
    results = Results.open(built)
    collect(results.params, built / "results")
    results = Results.open(built)
    shown = score_table(results, "few_shot", [25, 50]).shown
    row = shown[shown["Method"] == "My method!"].iloc[0]
    assert row["SRCC, 25"].strip("*").startswith("0.")
    assert row["SRCC, 50"] == "–"  # part of the grid
    assert curves(results, "few_shot", [25, 50]) is not None
    pairs = results.pairs[(results.pairs["method"] == "my_method") & (results.pairs["database"] == "alpha")]
    assert pairs["against"].unique().tolist() == ["grmp"]
    assert np.isfinite(pairs["mean"]).all()
    assert "my_method" not in str(results.missing(results.params.run.run_keys()))
    assert "my_method" not in (built / "results/cost.json").read_text()
    for name in ("ridge", "GRMP"):  # the one that it is compared with, too
        taken = CliRunner().invoke(app, [*command, "--add", name])
        assert f"'{name.lower()}' is a method of params.yaml; rename the file" in str(taken.exception)
    for given, said in (
        (["--add", "my METHOD"], "'my METHOD' and 'My method!' are both called my_method in files"),
        (["--add", "My method!", "--against", "my_method"], "has the name of the method that it is compared with"),
        (["--against", "gmrp"], "--against gmrp: no such method; known: zero_shot, ridge"),
    ):
        assert said in str(CliRunner().invoke(app, [*command, *given]).exception)


def test_a_method_that_is_added_first_can_be_compared_later(built: Path, mine: Path, tmp_path: Path):
    """It is known by what a run of ours would read."""
    root = shutil.copytree(built, tmp_path / "w")
    loaded = settings.load(root / "params.yaml")
    table = pd.read_csv(root / "data/prepared/alpha/index.csv", usecols=["image"], dtype=str)
    rows = pd.read_csv(KEY._replace(method="ridge").folder(root) / "predictions.csv", dtype={"image": str})
    for split, part in rows.groupby("split"):
        tested = table["image"].isin(part["image"])
        table[f"split_{split}"] = np.where(tested, "test", ((~tested).cumsum() - 1).astype(str))
    splits_of = root / "data/splits/alpha/sound.csv"
    splits_of.parent.mkdir(parents=True)
    table.to_csv(splits_of, index=False)
    shutil.rmtree(KEY._replace(method="grmp").folder(root))
    command = ["evaluate", str(mine), "--database", "alpha", "--shots", "25", "--params", str(root / "params.yaml")]
    said = CliRunner().invoke(app, command, catch_exceptions=False).output
    assert f"compute it with: grmp run alpha grmp 25 --protocol sound --params {root}/params.yaml" in said
    room.add(loaded, root, mine, KEY, "grmp", "first")
    found = read_run(KEY.folder(root)).inputs
    assert found == identity.data(loaded, root, KEY) == {"database": "3" * 64, "splits": sha256(splits_of)}


def outdated_keys(root: Path) -> list[RunKey]:
    """What a sweep would compute; inputs of the invented records do not exist, so identities are not asked for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("grmp.experiments.sweep.identify", lambda *_: type("Known", (), {"digest": ""}))
        return outdated(settings.load(root / "params.yaml"), root)


def test_without_our_run_the_ratings_come_from_the_database(built: Path, mine: Path):
    said = r"the ratings of beta are not here; run: grmp data fetch beta --params .*/params\.yaml && grmp"
    with pytest.raises(UserError, match=said):
        evaluated(built, mine, key=KEY._replace(database="beta"))
