"""What is sent to Slurm and what is believed of it: Slurm is played here; tests/pipeline/test_slurm.py asks a real one."""

import os
import pickle
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import submitit

from grmp.experiments import slurm as cluster
from grmp.experiments.slurm import Task, work


class Job:
    """One of its jobs."""

    def __init__(self, name: str, folder: Path) -> None:
        self.job_id = name
        self.paths = SimpleNamespace(result_pickle=folder / f"{name}_0_result.pkl", stderr=folder / f"{name}.err")

    def result(self):
        return pickle.loads(self.paths.result_pickle.read_bytes())


class Queue:
    """submitit's executor: jobs vanish, or end at once with what they are asked to."""

    def __init__(self, folder: Path, ends: bool = True, most: int = 99, **_: object) -> None:
        self.folder, self.ends, self.most, self.sent = Path(folder), ends, most, []

    def update_parameters(self, **_: object) -> None:
        pass

    @contextmanager
    def batch(self):
        yield

    def submit(self, task, item):
        if len(self.sent) == self.most:
            raise RuntimeError("sbatch: error: QOSMaxSubmitJobPerUserLimit\nsecond line")
        job = Job(f"3_{len(self.sent)}", self.folder)
        if self.ends:
            job.paths.result_pickle.write_bytes(pickle.dumps(task(item)))
        self.sent.append(job)
        return job


@pytest.fixture
def slurm(monkeypatch):
    """Plays Slurm as told."""

    def play(**how: object) -> None:
        monkeypatch.setattr(submitit, "SlurmExecutor", partial(Queue, **how))
        monkeypatch.setattr(cluster, "_queue", lambda arrays: set())
        monkeypatch.setattr(cluster, "POLL", 0.01)
        monkeypatch.setattr(cluster, "GONE", 0.05)
        monkeypatch.setattr(cluster.subprocess, "run", lambda *_, **__: None)

    return play


def shout(item: str) -> str:
    return item.upper()


def test_each_sweep_has_a_folder_of_its_own_that_nobody_else_writes(slurm, tmp_path):
    slurm()
    for name in ("3_0_0_result.pkl", "3_1_0_result.pkl"):  # of a Slurm whose numbers began anew
        (tmp_path / name).write_bytes(pickle.dumps(("done", "of yesterday")))
    for _ in range(2):
        assert list(work(shout, ["a", "b"], tmp_path, {})) == [("a", "done", "A"), ("b", "done", "B")]
    folders = [path for path in tmp_path.iterdir() if path.is_dir()]
    assert len(folders) == 2
    assert all(path.stat().st_mode & 0o777 == 0o700 for path in folders)


def test_a_job_that_vanishes_is_sent_once_more_and_then_a_failure(slurm, tmp_path):
    slurm(ends=False)
    (one,) = work(shout, ["a"], tmp_path, {})
    assert one[:2] == ("a", "failed")
    assert one[2].startswith("Slurm job 3_1, submitted twice: lost; see ")


def test_a_second_job_that_slurm_refuses_is_a_failure_of_that_run_alone(slurm, tmp_path):
    slurm(ends=False, most=3)
    ended = list(work(shout, ["a", "b"], tmp_path, {}))
    assert [(item, state) for item, state, _ in ended] == [("b", "failed"), ("a", "failed")]
    assert "resubmission rejected: sbatch: error: QOSMaxSubmitJobPerUserLimit second line" in ended[0][2]
    assert all("\n" not in reason for *_, reason in ended)


def test_a_job_that_is_taken_away_is_the_same_task_again():
    task = Task(shout)
    assert task("a") == ("done", "A")
    again = task.checkpoint("a")
    assert again.function is task
    assert again.args == ("a",)


def test_jobs_do_not_inherit_the_limits_of_the_job_that_submits_them(slurm, tmp_path, monkeypatch):
    """``sbatch`` takes its options from SLURM_* and SBATCH_* variables; SLURM_CONF says where the controller is."""
    for name in ("SLURM_MEM_PER_CPU", "SLURM_CPU_BIND", "SLURM_JOB_ID", "SBATCH_TIMELIMIT", "SLURM_CONF"):
        monkeypatch.setenv(name, "inherited")
    slurm()
    seen = []
    submit = Queue.submit
    monkeypatch.setattr(Queue, "submit", lambda self, *given: seen.append(dict(os.environ)) or submit(self, *given))
    assert list(work(str, [1], tmp_path, {})) == [(1, "done", "1")]
    assert {n for n in seen[0] if n.startswith(("SLURM_", "SBATCH_"))} == {"SLURM_CONF"}
    assert os.environ["SLURM_JOB_ID"] == "inherited"
