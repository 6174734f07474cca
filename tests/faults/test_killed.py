"""SIGKILL at random moments: the next start completes, and records and tables are those of an undisturbed run."""

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import pytest

from grmp import params
from grmp.experiments.run import run
from grmp.pretrain.train import pretrain
from grmp.report.collect import collect
from tests import worlds
from tests.faults import copies

METHODS = ["zero_shot", "ridge", "random_prompts", "grmp"]
MAIN = "from grmp.cli import main; main()"


def start(file, *command: str) -> subprocess.Popen:
    """A command of the project in a process group of its own."""
    return subprocess.Popen(
        [sys.executable, "-c", MAIN, *command, "--params", str(file)],
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )


def killed(file, seconds: float, group: bool, *command: str) -> bool:
    """Start, and kill after a while: the whole group, or its first process alone; False if it was done before."""
    process = start(file, *command)
    try:
        process.wait(seconds)
        return False
    except subprocess.TimeoutExpired:
        (os.killpg if group else os.kill)(process.pid, signal.SIGKILL)
        return True
    finally:
        if not group and process.poll() is None:
            process.kill()
        process.wait()
        process.stderr.close()


def complete(file, *command: str) -> float:
    """Run to the end; how long it took."""
    began = time.monotonic()
    process = start(file, *command)
    told = process.communicate()[1].decode()
    assert process.returncode == 0, told[-2000:]
    assert "Traceback" not in told
    return time.monotonic() - began


STEPS = (  # a command, what it leaves, and its share of the kills
    (("pretrain", "fomaml"), ("models/prompts", "results/partial"), 1 / 3),
    (("sweep", "--workers", "2"), ("results/runs", "results/partial"), 1 / 2),
    (("collect",), ("results/scores.csv",), 1 / 6),
)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return worlds.build(
        tmp_path_factory.mktemp("world") / "w",
        run={"few_shot": {"methods": METHODS}},
        protocols={"sound": {"adapt": {"epochs": 20}}},
        pretrain={"epochs": 6},
    )


@pytest.fixture(scope="module")
def undisturbed(pristine, tmp_path_factory):
    """Records, tables and prompts of a run that nobody killed."""
    file = copies.copy(pristine, tmp_path_factory.mktemp("undisturbed"))
    loaded = params.load(file)
    pretrain(loaded, file.parent, "fomaml")
    for key in loaded.run.run_keys():
        run(loaded, file.parent, key, progress=False)
    collect(loaded, file.parent / "results")
    return outcome(file)


def outcome(file):
    prompts = (file.parent / "models/prompts/fomaml.safetensors").read_bytes()
    return copies.records(file.parent), copies.tables(file.parent), prompts


def disturb(file, kills: int, seed: int) -> None:
    """Kill the steps at ``kills`` moments of their work, and bring each to its end.

    A step that came to its end before its kill is begun anew: only kills that met a process at work count.
    """
    rng = random.Random(seed)
    for command, leaves, share in STEPS:
        seconds, met, at_its_end, wanted = complete(file, *command), 0, True, round(share * kills)
        while met < wanted:  # the time limit of the test ends what is always done before its kill
            if at_its_end:
                forget(file, leaves)
            at_its_end = not killed(file, rng.uniform(0.1, seconds), rng.random() < 0.7, *command)
            met += not at_its_end
        if wanted:
            complete(file, *command)


def forget(file, leaves) -> None:
    """Take away what a step has made."""
    for place in leaves:
        path = file.parent / place
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def strays(file):
    """What a killed writer left: a file or folder that is not whole."""
    return [p.name for p in file.parent.rglob(".*") if p.suffix in (".partial", ".old")]


@pytest.mark.slow
def test_killed_a_few_times(pristine, undisturbed, tmp_path):
    file = copies.copy(pristine, tmp_path)
    disturb(file, 2, seed=1)
    assert outcome(file) == undisturbed
    assert strays(file) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_thirty_moments(pristine, undisturbed, tmp_path):
    file = copies.copy(pristine, tmp_path)
    disturb(file, 30, seed=2)
    assert outcome(file) == undisturbed
    assert strays(file) == []
