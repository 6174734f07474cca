"""Nine lines on a machine; what would stop the paper is a FAIL and exit code 1."""

import json
import shutil
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from grmp import params
from grmp.cli import app
from grmp.errors import UserError
from grmp.experiments import doctor
from grmp.experiments import slurm as cluster
from tests.conftest import ROOT

ORDER = ["settings", "packages", "GPU", "memory", "databases", "disk", "weights", "locks", "cluster"]


def run(file):
    done = CliRunner().invoke(app, ["doctor", "--params", str(file)])
    found = {}
    for line in done.output.splitlines():
        found.setdefault(line[5:15].strip(), (line[:5].strip(), line[16:]))
    assert list(found) == [name for name in ORDER if name in found]
    assert done.exit_code == any(state == "FAIL" for state, _ in found.values())
    return found


@pytest.fixture
def demo(tmp_path):
    (tmp_path / "demo").mkdir()
    for name in ("params.yaml", "demo/params.yaml"):
        shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path / "demo/params.yaml"


def test_the_demo_can_be_run_here(demo):
    found = run(demo)
    assert found["packages"][0] in ("ok", "note")
    assert found["weights"] == ("ok", "created by: dvc repro backbone")
    count = len(params.load(demo).data.databases)
    assert found["databases"] == ("note", f"0 of {count} fetched, 0 prepared")
    assert "GB still needed" in found["disk"][1]
    assert found["locks"][0] == "ok"


def test_a_database_nobody_knows_and_findings_as_json(world):
    found = run(world)
    assert found["databases"] == ("FAIL", "unknown: pre, target; see grmp data list")
    lines = CliRunner().invoke(app, ["doctor", "--params", str(world), "--json"]).output.splitlines()
    assert {row["check"] for row in map(json.loads, lines)} == set(found)


def test_it_leaves_nothing_behind_and_makes_no_folder(demo):
    before = sorted(demo.parent.rglob("*"))
    run(demo)
    assert sorted(demo.parent.rglob("*")) == before
    found = run(demo.parent / "no/such/params.yaml")
    assert found["settings"][0] == found["locks"][0] == "FAIL"
    assert sorted(demo.parent.rglob("*")) == before


def test_a_full_disk(demo, monkeypatch):
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    state, told = run(demo)["disk"]
    assert state == "FAIL"
    assert "still needed" in told


def test_weights_that_cannot_be_had(tmp_path, monkeypatch):
    def unreachable(*_, **__):
        raise OSError("no route")

    shutil.copy(ROOT / "params.yaml", tmp_path / "params.yaml")
    monkeypatch.setattr("huggingface_hub.HfApi.model_info", unreachable)
    state, told = run(tmp_path / "params.yaml")["weights"]
    assert state == "FAIL"
    assert "no route" in told
    assert "grmp backbone --from" in told


def test_a_place_that_cannot_be_locked(demo, monkeypatch):
    def no_lock(*_):
        raise UserError("no locks here")

    monkeypatch.setattr(doctor, "lock", no_lock)
    assert run(demo)["locks"] == ("FAIL", f"{demo.parent} cannot be written and locked: no locks here")


def test_slurm_is_told(demo, monkeypatch):
    monkeypatch.setattr(doctor, "reachable", lambda: "main 4 idle")
    assert run(demo)["cluster"] == ("ok", "Slurm: main 4 idle")
    monkeypatch.setenv("PATH", "/nowhere")
    assert cluster.reachable() == ""
