"""A dvc.lock that a killed DVC left cut off anywhere: DVC reads what is left, and whole stages stay."""

import json
import subprocess

import numpy as np
import pytest
import yaml
from filelock import FileLock

from grmp.experiments import mend as room
from grmp.experiments.mend import living_owners, mend, whole_stages
from tests.conftest import ROOT

WHOLE = (ROOT / "demo/dvc.lock").read_text()


def test_nothing_is_done_to_a_whole_one():
    assert whole_stages(WHOLE) is None


@pytest.mark.parametrize("seed", range(12))
def test_cut_anywhere(seed, tmp_path):
    cut = WHOLE[: int(np.random.default_rng(seed).integers(len(WHOLE)))]
    (tmp_path / "dvc.lock").write_text(cut)
    told = mend(tmp_path)
    stages = yaml.safe_load(WHOLE)["stages"]
    kept = yaml.safe_load((tmp_path / "dvc.lock").read_text())["stages"] if (tmp_path / "dvc.lock").exists() else {}
    assert cut.count("\n    cmd:") - len(kept) in (0, 1)  # at most the stage being written is lost
    same = [name for name in kept if kept[name] == stages[name]]
    assert (
        len(kept) - len(same) <= 1
    )  # one cut between two lines cannot be told from a shorter stage: DVC runs it again
    assert mend(tmp_path) == []
    assert told or len(same) >= len(kept) - 1


def test_a_cut_table_of_locks(tmp_path):
    table = tmp_path / ".dvc/tmp/rwlock"
    table.parent.mkdir(parents=True)
    table.write_text('{"read": {"/a": [{"pid": 1, "cm')
    (tmp_path / "demo").mkdir()
    assert mend(tmp_path / "demo") == [f"{table} was cut off, or named a DVC that is dead; mended"]
    assert json.loads(table.read_text()) == {}
    assert mend(tmp_path / "demo") == []


def test_a_dead_owner_whose_number_another_process_has_is_forgotten(tmp_path):
    """DVC takes any process of that number for itself, and asks to remove the file by hand."""
    with (
        subprocess.Popen(["sleep", "60"]) as other,
        subprocess.Popen(["sh", "-c", "sleep 60 # dvc repro; true"]) as dvc,
    ):
        owners = [{"pid": process.pid, "cmd": "dvc repro"} for process in (other, dvc)]
        table = {"write": {"/a": owners[0], "/b": owners[1]}, "read": {"/c": owners, "/d": owners[:1]}}
        living = living_owners(json.dumps(table))
        assert json.loads(living) == {"write": {"/b": owners[1]}, "read": {"/c": owners[1:]}}
        assert living_owners(living) is None
        other.kill()
        dvc.kill()


def test_a_dvc_at_work_is_left_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "PATIENCE", 0.1)
    (tmp_path / ".dvc/tmp").mkdir(parents=True)
    (tmp_path / "dvc.lock").write_text(WHOLE[:1000])
    with FileLock(tmp_path / ".dvc/tmp/lock"):
        assert mend(tmp_path) == []
    assert (tmp_path / "dvc.lock").read_text() == WHOLE[:1000]
    assert len(mend(tmp_path)) == 1
