"""A sweep through a real Slurm: jobs cancelled half-way by a signal are requeued and go on, and the tables are a local run's.

Needs ``sinfo`` to answer. With GRMP_SLURM_UP set to a script that starts a one-node Slurm, it is run first (docs/sweep.md).
"""

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from grmp import params
from grmp.experiments import slurm as cluster
from grmp.experiments import sweep
from grmp.pretrain.train import pretrain
from grmp.report.collect import collect
from tests import worlds
from tests.faults import copies

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1200)]
LONG = {"sound": {"adapt": {"epochs": 80}}}  # enough to be interrupted


@pytest.fixture(scope="module", autouse=True)
def slurm():
    if not cluster.reachable() and (script := os.environ.get("GRMP_SLURM_UP")):
        subprocess.run([script], check=True, capture_output=True)
    if not cluster.reachable():
        pytest.skip("no Slurm answers here (sinfo); docs/sweep.md says how to start one")


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """Twelve runs, of which the trained ones take long enough to be interrupted."""
    file = worlds.build(
        tmp_path_factory.mktemp("world") / "w",
        run={"few_shot": {"methods": ["zero_shot", "ridge", "random_prompts", "grmp"], "shots": [6, 12, 18]}},
        protocols=LONG,
    )
    pretrain(params.load(file), file.parent, "fomaml")
    return file


@pytest.fixture
def begin():
    """Begins a sweep through Slurm; neither it nor its jobs outlive the test."""
    begun = []

    def do(file, *arguments: str) -> subprocess.Popen:
        command = [sys.executable, "-c", "from grmp.cli import main; main()", "sweep", "--params", str(file)]
        command += ["--cluster", "slurm", "--workers", "2", *arguments]
        begun.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True))
        return begun[-1]

    yield do
    for process in begun:
        if process.poll() is None:
            process.kill()
            process.communicate()
    subprocess.run(["scancel", "--name", "grmp"], check=True)
    while squeue("%i"):
        time.sleep(0.5)


def squeue(form: str) -> list[str]:
    done = subprocess.run(["squeue", "-h", "-r", "-n", "grmp", "-o", form], capture_output=True, text=True, check=True)
    return done.stdout.split()


def running() -> set[str]:
    """The jobs that run."""
    return {job.split(",")[0] for job in squeue("%i,%T") if job.endswith("RUNNING")}


def half_way(world: Path) -> bool:
    """Whether some splits of an unfinished run are kept."""
    return any((world / "results/partial").glob("*/" + "?" * 64 + "/*.json"))


def hurry() -> None:
    """Slurm keeps a requeued job back for two minutes; a test does not wait."""
    for job in squeue("%i,%r"):
        name, _, reason = job.partition(",")
        if reason == "BeginTime":  # it may just have begun, so this may fail
            control(False, "update", f"JobId={name}", "StartTime=now")


def control(needed: bool, *words: str) -> None:
    subprocess.run(["scontrol", *words], capture_output=True, check=needed)


def listens(world, job: str) -> bool:
    """Whether submitit has begun with the job's work a few seconds ago: a signal before that ends a process unheard."""
    logs = list((world / "results/slurm").rglob(f"{job}_0_log.out"))
    return any("Loading pickle" in p.read_text() and time.time() - p.stat().st_mtime > 3 for p in logs)


def test_cancelled_jobs_are_requeued_and_the_tables_are_a_local_runs(pristine, begin, tmp_path):
    here, there = copies.copy(pristine, tmp_path / "local"), copies.copy(pristine, tmp_path / "slurm")
    began = begin(there, "--partition", "main", "--time", "30")
    signalled = set()
    while began.poll() is None:
        if len(signalled) < 3 and half_way(there.parent):
            for job in running() - signalled:
                if listens(there.parent, job):
                    # it may just have ended, so this may fail
                    subprocess.run(["scancel", "--signal=USR2", job], capture_output=True, check=False)
                    signalled.add(job)
        hurry()
        time.sleep(1)
    said = began.communicate()[0]
    assert began.returncode == 0, said[-3000:]
    assert "12 runs to compute with Slurm" in said
    assert "done 12 of 12, running 0, failed 0" in said
    logs = [p.read_text() for p in (there.parent / "results/slurm").rglob("*") if p.suffix in (".out", ".err")]
    assert signalled
    assert "Requeued job" in "".join(logs)

    loaded = copies.computed(here)
    assert copies.records(there.parent) == copies.records(here.parent)
    for file in (here, there):
        collect(loaded, file.parent / "results")
    assert copies.tables(there.parent) == copies.tables(here.parent)
    assert sweep.sweep(there, workers=1) == 0


def test_runs_of_a_lost_node_are_taken_up_again(pristine, begin, tmp_path):
    if os.getuid():
        pytest.skip("only root may take Slurm's node down")
    here, there = copies.copy(pristine, tmp_path / "local"), copies.copy(pristine, tmp_path / "slurm")
    few = worlds.settings(run={"few_shot": {"methods": ["random_prompts", "grmp"]}}, protocols=LONG)
    for file in (here, there):
        file.write_text(yaml.safe_dump(few, sort_keys=False))
    began, node, lost = begin(there), socket.gethostname().split(".")[0], set()
    try:
        while began.poll() is None:
            if not lost and half_way(there.parent) and (lost := running()):
                control(True, "update", f"NodeName={node}", "State=DOWN", "Reason=lost")
                time.sleep(2)
                control(False, "update", f"NodeName={node}", "State=RESUME")  # some come back by themselves
            hurry()
            time.sleep(1)
    finally:
        control(False, "update", f"NodeName={node}", "State=RESUME")
    said = began.communicate()[0]
    assert began.returncode == 0, said[-3000:]
    assert lost
    assert "done 4 of 4, running 0, failed 0" in said
    copies.computed(here)
    assert copies.records(there.parent) == copies.records(here.parent)


def test_a_job_that_slurm_ends_for_good_is_a_failure_with_its_log(pristine, begin, tmp_path):
    there = copies.copy(pristine, tmp_path)
    began = begin(there)
    while began.poll() is None:  # whatever is tried again is cancelled again
        subprocess.run(["scancel", "--name", "grmp"], check=False)
        time.sleep(0.5)
    said = began.communicate()[0]
    assert began.returncode == 1, said
    assert "submitted twice: lost; see " in said
    assert "retry the others with: grmp sweep" in said
    assert "Traceback" not in said
