"""`dvc repro` itself killed by SIGKILL at random moments, with its stages' commands or without: the next start completes.

`make recover` precedes each start, as DVC writes two of its files in place. All tables, with those of the notebooks, are
compared with those of an undisturbed run.
"""

import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.faults.copies import strays
from tests.pipeline.tiny import clone, environment

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(5400)]
KILLS = 30


def recover(folder: Path) -> None:
    """In a shell in which the environment of the project is not active."""
    found = environment(folder)
    found["PATH"] = found["PATH"].removeprefix(f"{ROOT / '.venv/bin'}{os.pathsep}")
    subprocess.run(["make", "-s", "-f", str(ROOT / "Makefile"), "recover"], cwd=folder, env=found, check=True)


def start(folder: Path) -> subprocess.Popen:
    """`make recover && dvc repro`, in a process group of its own."""
    recover(folder)
    return subprocess.Popen(
        ["dvc", "repro"],
        cwd=folder,
        env=environment(folder),
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def finish(folder: Path) -> None:
    process = start(folder)
    told = process.communicate()[1].decode()
    assert process.returncode == 0, told[-3000:]


def tables(folder: Path) -> dict[str, bytes]:
    """What must be the same: the stage collect's tables and those of the notebooks, by their paths."""
    results = folder / "results"
    paths = [*results.glob("*.csv"), results / "metrics.json", *(p for p in results.glob("tables/*/*") if p.is_file())]
    return {str(p.relative_to(results)): p.read_bytes() for p in paths}


def test_cut_lock_files_are_recovered(tmp_path):
    folder = clone(tmp_path / "a", ["few_shot"])
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages:\n  fetch@sim_wild:\n    cmd: grmp data fetch\n    de")
    table = folder.parent / ".dvc/tmp/rwlock"
    table.parent.mkdir(parents=True, exist_ok=True)
    table.write_text('{"write": {"/a": {"pi')
    recover(folder)
    assert not (folder / "dvc.lock").exists()  # it was not committed
    assert not table.exists()
    (folder / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    recover(folder)
    assert (folder / "dvc.lock").exists()


@pytest.mark.slow
def test_killed_at_thirty_moments(tmp_path):
    undisturbed, disturbed = (clone(tmp_path / name, ["few_shot", "predictions"]) for name in "ab")
    finish(undisturbed)
    rng, kills = random.Random(5), 0
    while kills < KILLS:
        process = start(disturbed)
        try:
            process.wait(rng.uniform(3, 30))
            assert process.returncode == 0, process.stderr.read().decode()[-3000:]
            (disturbed / "dvc.lock").unlink()  # done before the last kill: all stages once more, and all runs
            shutil.rmtree(disturbed / "results/runs")
        except subprocess.TimeoutExpired:
            kills += 1
            (os.killpg if rng.random() < 0.6 else os.kill)(process.pid, signal.SIGKILL)
            process.wait()
        finally:
            process.stderr.close()
    finish(disturbed)
    assert tables(disturbed) == tables(undisturbed)
    assert not strays(disturbed / "results")
