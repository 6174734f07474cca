"""The committed results/demo were made by the pipeline as it stands: no code or setting has changed since."""

import hashlib
import json
import shutil
import subprocess

import pytest
import yaml

from tests.conftest import ROOT
from tests.pipeline.tiny import environment

REFERENCE = ROOT / "results/demo"
REMEDY = "run `make demo`, then `make reference`, and commit results/demo"

pytestmark = pytest.mark.pipeline


def test_committed_results_are_not_older_than_what_makes_them(tmp_path):
    """DVC, in a clone, on the lock that was kept with the results."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(tmp_path / "clone")], check=True)
    demo = tmp_path / "clone/demo"
    shutil.copy(REFERENCE / "dvc.lock", demo)
    command = ["dvc", "status", "--json"]
    done = subprocess.run(command, cwd=demo, env=environment(demo), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    stale = {}
    for stage, changes in json.loads(done.stdout).items():
        if stage.startswith("../"):
            continue  # another pipeline's
        for change in changes:
            found = change.get("changed deps", {}) if isinstance(change, dict) else {"command": change}
            # what the pipeline writes is "deleted" in a clone; code and settings must not be "modified"
            new = {
                name: state
                for name, state in found.items()
                if state != "deleted" and not name.startswith(("data/", "models"))
            }
            if new:
                stale[stage] = new
    assert not stale, REMEDY


def test_committed_results_are_those_of_the_lock():
    outs = yaml.safe_load((REFERENCE / "dvc.lock").read_text())["stages"]["collect"]["outs"]
    assert len(outs) > 5
    for out in outs:
        found = hashlib.md5((REFERENCE / out["path"].removeprefix("results/")).read_bytes()).hexdigest()
        assert found == out["md5"], f"{out['path']}: {REMEDY}"
