"""SIGKILL at random moments: the next start completes, and records and tables are those of an undisturbed run."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from grmp import params, runs, sweep
from grmp.collect import collect
from grmp.pretrain import pretrain
from tests import worlds
from tests.faults import worlds as copies

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


STEPS = (("pretrain", "fomaml"), ("sweep", "-j", "2"), ("collect",))


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
    for key in runs.keys(loaded):
        sweep.run(loaded, file.parent, key, progress=False)
    collect(loaded, file.parent / "results")
    return outcome(file)


def outcome(file):
    prompts = (file.parent / "models/prompts/fomaml.safetensors").read_bytes()
    return copies.records(file.parent), copies.tables(file.parent), prompts


def disturb(file, kills: int, seed: int) -> int:
    """Kill the steps at ``kills`` moments, bring each to its end; how many kills met a process at work."""
    rng, met = random.Random(seed), 0
    for step in STEPS:
        share = {"pretrain": kills // 3, "sweep": kills - kills // 3 - kills // 6, "collect": kills // 6}[step[0]]
        for _ in range(share):
            met += killed(file, rng.uniform(1.0, 12.0), rng.random() < 0.7, *step)
        complete(file, *step)
    return met


def strays(file):
    """What a killed writer left: a file or folder that is not whole."""
    return [p.name for p in file.parent.rglob(".*") if p.suffix in (".partial", ".old")]


def test_killed_a_few_times(pristine, undisturbed, tmp_path):
    file = copies.copy(pristine, tmp_path)
    assert disturb(file, 3, seed=1) >= 1
    assert outcome(file) == undisturbed
    assert strays(file) == []


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_thirty_moments(pristine, undisturbed, tmp_path):
    file = copies.copy(pristine, tmp_path)
    assert disturb(file, 30, seed=2) >= 20
    assert outcome(file) == undisturbed
    assert strays(file) == []
