"""Runs as Slurm jobs, submitted through submitit: one job array, requeued after pre-emption, logs in results/slurm."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grmp.errors import UserError, one_line
from grmp.pool import call

POLL = 2.0  # seconds between two checks of the jobs
TIMEOUTS = 5  # times that a job may reach its time limit and be requeued
GONE = 30.0  # seconds without a result and outside the queue; on NFS a result may become visible that much later


@dataclass(frozen=True)
class Task:
    """One item; before Slurm takes a job away its signal makes submitit call ``checkpoint`` and requeue the job."""

    do: Callable[[Any], Any]  # continues from what it left when it is called again

    def __call__(self, item: Any) -> tuple[str, Any]:
        """("done" or "failed", result or reason)."""
        return call(self.do, item)

    def checkpoint(self, item: Any) -> Any:
        """The same task again; its finished splits are on disk."""
        from submitit.helpers import DelayedSubmission

        return DelayedSubmission(self, item)


def work(
    do: Callable[[Any], Any], items: Sequence[Any], folder: Path, options: dict[str, Any]
) -> Iterator[tuple[Any, str, Any]]:
    """Submit all ``items`` as a job array and yield (item, "done" or "failed", result or reason) of each as it ends.

    ``options`` are what each job requests, as submitit names it, and ``array_parallelism``, the jobs at the same time.
    ``folder`` must be on a file system that all nodes share. submitit's files are pickles, so they go to a new folder in
    it to which nobody else may write; none of an earlier sweep is read. If the generator is closed early, jobs are
    cancelled. Raises UserError if Slurm is not available, or rejects the jobs.
    """
    import submitit
    from submitit.helpers import clean_env

    rejections = (RuntimeError, ValueError, OSError, subprocess.SubprocessError, submitit.core.utils.FailedJobError)

    def submit(some: Sequence[Any]) -> list[Any]:
        # submitted from inside a job, sbatch would otherwise take its limits from SLURM_* and SBATCH_* variables
        kept = {name: value for name, value in os.environ.items() if name == "SLURM_CONF"}
        with clean_env(), executor.batch():
            os.environ.update(kept)
            return [executor.submit(Task(do), item) for item in some]

    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=folder.resolve()))
        executor = submitit.SlurmExecutor(folder=own, max_num_timeout=TIMEOUTS)
        executor.update_parameters(job_name="grmp", **options)
        waiting = dict(zip(submit(items), items, strict=True))
    except rejections as error:
        raise UserError(f"Slurm rejected the jobs: {one_line(error, 400)}") from None
    second = set()
    seen = dict.fromkeys(waiting, time.monotonic())  # when the job was last in the queue
    try:
        while waiting:
            queued = _queue({job.job_id.split("_")[0] for job in waiting})
            for job in list(waiting):
                if queued is None or job.job_id in queued:
                    seen[job] = time.monotonic()
                ended = job.paths.result_pickle.exists()
                if not ended and time.monotonic() - seen[job] < GONE:
                    continue
                item, found, name = waiting.pop(job), _result(job) if ended else "lost", f"Slurm job {job.job_id}"
                if isinstance(found, tuple):
                    yield item, *found
                elif job in second:
                    yield item, "failed", f"{name}, submitted twice: {found}; see {job.paths.stderr}"
                else:  # its node was lost, or it received a signal before submitit handles signals
                    try:
                        (again,) = submit([item])
                        waiting[again], seen[again] = item, time.monotonic()
                        second.add(again)
                    except rejections as error:
                        yield item, "failed", f"{name}: {found}; resubmission rejected: {one_line(error, 300)}"
            if waiting:
                time.sleep(POLL)
    finally:
        if waiting:
            subprocess.run(["scancel", *(job.job_id for job in waiting)], check=False, capture_output=True)


def _queue(arrays: set[str]) -> set[str] | None:
    """Ids of the pending and running jobs of these arrays, as submitit writes them; None if Slurm does not answer."""
    command = ["squeue", "--noheader", "--array", "--format=%i", f"--jobs={','.join(sorted(arrays))}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode and "Invalid job id" not in done.stderr:
        return None
    return set(done.stdout.split())


def _result(job: Any) -> tuple[str, Any] | str:
    """The result of a job, or the last line of its error."""
    try:
        found: tuple[str, Any] = job.result()
        return found
    except Exception as error:  # any error of the job, reported by submitit, which appends where the logs are
        text = str(error).partition("You can check full logs")[0]
        lines = [line.strip() for line in text.splitlines() if line.strip(" -")]
        return (lines or [type(error).__name__])[-1][:300]


def reachable() -> str:
    """The partitions that Slurm's controller reports, or an empty string."""
    try:
        done = subprocess.run(["sinfo", "--noheader", "--format=%P %D %T"], capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return ", ".join(done.stdout.split("\n")).strip(", ") if done.returncode == 0 else ""
