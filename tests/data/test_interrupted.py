"""SIGKILL at 20 random moments of fetch and prepare: the next run goes on, and the result is that of an undisturbed one."""

import json
import os
import subprocess
import sys

from tests.conftest import ROOT
from tests.data import layouts, toys
from tests.data.server import Served


def test_killed_at_twenty_moments(site, tmp_path):
    content = layouts.pack(toys.archive(), tmp_path / "toy.tgz").read_bytes()
    site.files["/toy.tgz"] = Served(content, pace=0.01)
    run = subprocess.run(
        [sys.executable, "-m", "tests.data.toys", f"{site.url}/toy.tgz", str(tmp_path / "work"), "20"],
        cwd=ROOT,
        env=os.environ | {"TOY_SIZE": str(len(content))},
        capture_output=True,
        text=True,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    phases = json.loads(run.stdout.splitlines()[-1])
    assert len(phases) == 20
    assert {"downloading", "unpacking", "preparing"} <= set(phases), phases
