"""Fresh results against a reference: what is the same, what differs and by how much."""

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from typer.testing import CliRunner

from grmp.cli import app
from grmp.errors import UserError
from grmp.params import load
from grmp.report.verify import lines, reference_folder, verify
from tests.conftest import ROOT


@pytest.fixture
def fresh(collected: Path, tmp_path: Path) -> Path:
    for name in ("scores.csv", "pairs.csv"):
        shutil.copy(collected / "results" / name, tmp_path)
    return tmp_path


def change(path: Path, column: str, add: float) -> None:
    table = pd.read_csv(path, dtype={"shots": str})
    table.loc[7, column] += add
    table.to_csv(path, index=False)


@pytest.mark.parametrize(("add", "reproduced"), [(-0.004, True), (0.006, False), (float("nan"), False)])
def test_a_score_may_differ_by_the_tolerance(collected: Path, fresh: Path, add: float, reproduced: bool):
    change(fresh / "scores.csv", "srcc", add)
    found = verify(fresh, collected / "results", 0.005, 0.95)
    assert found["reproduced"] == reproduced
    table = pd.read_csv(collected / "results/scores.csv")
    count, first = len(table), "reproduced" if reproduced else "not reproduced"
    assert lines(found).startswith(f"{first}: {count - (not reproduced)} of {count} scores within 0.005, ")
    if not reproduced:
        row = table.iloc[7]
        assert f"SRCC of {row.protocol} {row.database} {row.method} {row.shots}, split {row.split}: " in lines(found)


def test_missing_scores_and_other_conclusions_are_named(collected: Path, fresh: Path):
    scores = pd.read_csv(fresh / "scores.csv", dtype={"shots": str})
    scores.iloc[:-30].to_csv(fresh / "scores.csv", index=False)
    change(fresh / "pairs.csv", "low", 2.0)
    change(fresh / "pairs.csv", "high", 2.0)
    found = verify(fresh, collected / "results", 0.005, 0.95)
    assert (len(found["different"]), len(found["changed"])) == (60, 1)  # SRCC and PLCC
    assert found["scores"] - found["within"] == 30
    assert found["changed"][0]["found"] == "above 0"
    assert lines(found).endswith("and 41 more")


def test_the_command_fails_where_results_differ(collected: Path, fresh: Path):
    command = ["verify", str(fresh), "--params", str(collected / "params.yaml"), "--json"]
    assert CliRunner().invoke(app, command).exit_code == 0
    change(fresh / "scores.csv", "srcc", 0.1)
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 1
    assert not json.loads(done.stdout)["reproduced"]
    assert done.stdout.count("\n") == 1


def test_references_lie_beside_the_code(tmp_path: Path):
    assert reference_folder(load(ROOT / "demo/params.yaml"), ROOT / "demo") == ROOT / "results/demo"
    assert reference_folder(load(ROOT / "params.yaml"), ROOT) == ROOT / "results/paper"
    with pytest.raises(UserError, match=r"scores\.csv not found"):
        verify(tmp_path, tmp_path, 0.005, 0.95)
