"""The kept copy of the golden numbers, and the given one where it is."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import ROOT
from tests.golden.__main__ import TOLERANCE
from tests.golden.check import differences

KEPT = Path(__file__).parent / "small.npz"


def test_same_method_as_published():
    found = differences(KEPT)
    assert len(found) == 21
    assert max(found.values()) <= TOLERANCE, found


def test_given_file_is_the_kept_one(shared):
    assert (shared / "golden/small.npz").read_bytes() == KEPT.read_bytes()


def test_command_fails_on_other_numbers(tmp_path):
    with np.load(KEPT, allow_pickle=False) as stored:
        arrays = {name: stored[name] for name in stored.files}
    arrays["task_loss"] = arrays["task_loss"] + np.float32(2e-4)
    np.savez(tmp_path / "other.npz", **arrays)
    command = [sys.executable, "-m", "tests.golden", str(tmp_path / "other.npz")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert [line.split()[0] for line in done.stdout.splitlines() if "above" in line] == ["task_loss"]


@pytest.mark.parametrize("arguments", [[], ["nothing.npz"]])
def test_usage(arguments):
    command = [sys.executable, "-m", "tests.golden", *arguments]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 1
