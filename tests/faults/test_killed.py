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


STEPS = (  # a command, what it leaves, and how many kills it must survive
    (("pretrain", "fomaml"), ("models/prompts", "results/partial"), 10),
    (("sweep", "--workers", "2"), ("results/runs", "results/partial"), 15),
    (("collect",), ("results/scores.csv",), 5),
)


def disturb(file) -> None:
    """Kill the steps at random moments of their work, and bring each to its end.

    A step that came to its end before its kill is begun anew: only kills that met a process at work count.
    """
    rng = random.Random(2)
    for command, leaves, wanted in STEPS:
        seconds, met, at_its_end = complete(file, *command), 0, True
        while met < wanted:  # the time limit of the test ends what is always done before its kill
            if at_its_end:
                forget(file, leaves)
            at_its_end = not killed(file, rng.uniform(0.1, seconds), rng.random() < 0.7, *command)
            met += not at_its_end
        complete(file, *command)


def forget(file, leaves) -> None:
    """Take away what a step has made."""
    for place in leaves:
        path = file.parent / place
        shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def outcome(file):
    prompts = (file.parent / "models/prompts/fomaml.safetensors").read_bytes()
    return copies.records(file.parent), copies.tables(file.parent), prompts


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_killed_at_thirty_moments(tmp_path):
    undisturbed = worlds.build(
        tmp_path / "undisturbed/w",
        run={"few_shot": {"methods": METHODS}},
        protocols={"sound": {"adapt": {"epochs": 20}}},
        pretrain={"epochs": 6},
    )
    disturbed = copies.copy(undisturbed, tmp_path / "disturbed")
    pretrain(params.load(undisturbed), undisturbed.parent, "fomaml")
    collect(copies.computed(undisturbed), undisturbed.parent / "results")
    disturb(disturbed)
    assert outcome(disturbed) == outcome(undisturbed)
    assert not copies.strays(disturbed.parent)
