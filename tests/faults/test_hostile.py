"""Each reader, fed with damaged files: a clear line or a value, nothing written outside, memory and time bounded."""

import json
import subprocess
import sys

import pytest

from tests.conftest import ROOT
from tests.faults.readers import READERS


def feed(name, count, seed, folder):
    command = [sys.executable, "-m", "tests.faults.hostile", name, str(count), str(seed), str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"the reader's process died ({done.returncode}): {done.stderr[-1500:]}"
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["wrong"] == []
    assert found["taken"] + found["refused"] == count
    return found


def test_many_damaged_files_are_refused_in_a_line(tmp_path):
    """A few of the readers in the fast tests, so that the machinery is known to work."""
    for name in ("run record", "archive .zip"):
        (tmp_path / name).mkdir()
        assert feed(name, 20, 7, tmp_path / name)["refused"] > 5


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", READERS)
def test_two_hundred_damaged_files(name, tmp_path):
    feed(name, 200, 1, tmp_path)
