"""The committed demo/results were made by the pipeline as it stands: no code or setting has changed since."""

import json
import os
import subprocess

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.pipeline


def test_committed_results_are_not_older_than_what_makes_them():
    environment = os.environ | {"PATH": f"{ROOT / '.venv/bin'}{os.pathsep}{os.environ['PATH']}"}
    command = ["dvc", "status", "--json"]
    done = subprocess.run(command, cwd=ROOT / "demo", env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    stale = {}
    for stage, changes in json.loads(done.stdout).items():
        if stage.startswith("../"):
            continue  # another world's
        for change in changes:
            found = change.get("changed deps", {}) if isinstance(change, dict) else {"command": change}
            # in a fresh clone the data are "deleted": they are not kept in git; code and settings must not be "modified"
            new = {
                name: state
                for name, state in found.items()
                if state != "deleted" and not name.startswith(("data/", "models"))
            }
            if new:
                stale[stage] = new
    assert not stale, "run `make demo` and commit demo/results and demo/dvc.lock"
