"""Runs as jobs of a Slurm cluster, through submitit: one job array, requeued on pre-emption, logs in results/slurm."""

import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grmp.errors import UserError

POLL = 2.0  # seconds between two looks at the jobs
TIMEOUTS = 100  # times that a job may run into its time limit and be taken up again
GONE = 3  # looks in a row that find a job neither finished nor in the queue


@dataclass(frozen=True)
class Jobs:
    """What each job asks for."""

    partition: str = ""
    gpus: int = 0
    cpus: int = 1
    minutes: int = 60
    parallel: int = 256  # jobs at once
    more: dict[str, str] = field(default_factory=dict)  # other options of sbatch: account, qos, constraint


class Task:
    """One item of work; Slurm's signal before a job is taken away makes submitit call ``checkpoint`` and requeue it."""

    def __init__(self, do: Callable[[Any], Any]) -> None:
        """``do`` must go on from what it left when it is called again."""
        self.do = do

    def __call__(self, item: Any) -> tuple[str, Any]:
        """("done" or "failed", result or reason)."""
        try:
            return "done", self.do(item)
        except UserError as error:
            return "failed", str(error)

    def checkpoint(self, item: Any) -> Any:
        """The same once more: what is done lies in the world's folder already."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, item)


def work(do: Callable[[Any], Any], items: Sequence[Any], folder: Path, jobs: Jobs) -> Iterator[tuple[Any, str, Any]]:
    """Submit all ``items`` as an array and yield (item, "done" or "failed", result or reason) of each as it ends.

    ``folder`` must lie on a file system that all nodes share. Left early (an interrupt), the jobs are cancelled.

    Raises
    ------
    UserError
        If there is no Slurm here, or it refuses the jobs.
    """
    import submitit

    try:
        executor = submitit.SlurmExecutor(folder=folder.resolve(), max_num_timeout=TIMEOUTS)
        executor.update_parameters(**_options(jobs))
        with executor.batch():
            sent = [executor.submit(Task(do), item) for item in items]
    except (RuntimeError, ValueError, OSError, subprocess.SubprocessError, submitit.core.utils.FailedJobError) as error:
        raise UserError(f"Slurm took no jobs: {' '.join(str(error).split())[:400]}") from None
    waiting, unseen, again = dict(zip(sent, items, strict=True)), dict.fromkeys(sent, 0), set()
    try:
        while waiting:
            queued = _queue({job.job_id.split("_")[0] for job in waiting})
            for job in list(waiting):
                trouble = ""
                if job.paths.result_pickle.exists():
                    found, trouble = _result(job)
                    if found:
                        yield waiting.pop(job), *found
                        continue
                else:
                    unseen[job] = 0 if queued is None or job.job_id in queued else unseen[job] + 1
                    if unseen[job] < GONE:
                        continue
                item = waiting.pop(job)
                if job in again:
                    trouble = trouble or "ended without a result"
                    yield item, "failed", f"Slurm job {job.job_id}, the second one: {trouble}; see {job.paths.stderr}"
                    continue
                # its node was lost, or a signal met it in its first seconds, before submitit listens
                anew = executor.submit(Task(do), item)
                waiting[anew], unseen[anew] = item, 0
                again.add(anew)
            if waiting:
                time.sleep(POLL)
    finally:
        if waiting:
            subprocess.run(["scancel", *(job.job_id for job in waiting)], check=False, capture_output=True)


def _options(jobs: Jobs) -> dict[str, Any]:
    """In submitit's words."""
    found: dict[str, Any] = {
        "job_name": "grmp",
        "time": jobs.minutes,
        "cpus_per_task": jobs.cpus,
        "array_parallelism": jobs.parallel,
        "additional_parameters": {"requeue": True, **jobs.more},
    }
    if jobs.partition:
        found["partition"] = jobs.partition
    if jobs.gpus:
        found["gpus_per_node"] = jobs.gpus
    return found


def _queue(arrays: set[str]) -> set[str] | None:
    """Ids of the jobs of these arrays that wait or run, in the form of submitit; None if Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(sorted(arrays))}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return set(done.stdout.split())


def _result(job: Any) -> tuple[tuple[str, Any] | None, str]:
    """What the job gave, or None and the last line of its trouble."""
    try:
        return job.result(), ""
    except Exception as error:  # whatever stopped the job, told by submitit, which adds where the logs are
        told = str(error).partition("You can check full logs")[0]
        lines = [line.strip() for line in told.splitlines() if line.strip(" -")]
        return None, (lines or [type(error).__name__])[-1][:300]


def reachable() -> str:
    """What Slurm's controller says of its partitions, or an empty text."""
    try:
        done = subprocess.run(["sinfo", "--noheader", "--format=%P %D %T"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ", ".join(done.stdout.split("\n")).strip(", ") if done.returncode == 0 else ""
