"""Runs as jobs of a Slurm cluster, through submitit: one job array, requeued on pre-emption, logs in results/slurm."""

import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from grmp.errors import UserError

POLL = 2.0  # seconds between two looks at the jobs
TIMEOUTS = 100  # times that a job may run into its time limit and be taken up again
GONE = 30.0  # seconds that a job is neither finished nor in the queue; NFS may show what it wrote that much later
IDLE = 2  # times in a row


@dataclass(frozen=True)
class SlurmOptions:
    """What each job asks for."""

    partition: str = ""
    gpus: int = 0
    cpus: int = 1
    minutes: int = 60
    parallel: int = 256  # jobs at once
    more: dict[str, str] = field(default_factory=dict)  # other options of sbatch: account, qos, constraint


class Task:
    """One item of work; Slurm's signal before a job is taken away makes submitit call ``checkpoint`` and requeue it."""

    def __init__(self, do: Callable[[Any], Any], progress: Callable[[Any], int], seconds: float) -> None:
        """``do`` must go on from what it left when it is called again; ``progress`` says how much that is.

        A job that twice in a row gets no further in half of its ``seconds`` hangs, or needs more of them: it is not requeued.
        """
        self.do, self.progress, self.seconds = do, progress, seconds
        self.idle, self.before, self.since = 0, 0, 0.0

    def __call__(self, item: Any) -> tuple[str, Any]:
        """("done" or "failed", result or reason)."""
        self.before, self.since = self.progress(item), time.monotonic()
        try:
            return "done", self.do(item)
        except UserError as error:
            return "failed", str(error)

    def checkpoint(self, item: Any) -> Any:
        """The same once more: what is done lies in the world's folder already. None ends the job."""
        from submitit.helpers import DelayedSubmission

        further = self.progress(item) > self.before
        if time.monotonic() - self.since > self.seconds / 2:  # before that it was pre-empted
            self.idle = 0 if further else self.idle + 1
        return DelayedSubmission(self, item) if self.idle < IDLE else None


def work(
    do: Callable[[Any], Any], items: Sequence[Any], folder: Path, jobs: SlurmOptions, progress: Callable[[Any], int]
) -> Iterator[tuple[Any, str, Any]]:
    """Submit all ``items`` as an array and yield (item, "done" or "failed", result or reason) of each as it ends.

    ``folder`` must lie on a file system that all nodes share; submitit's files go to a new folder in it, which nobody else may
    write, as they are pickles: none of an earlier sweep, or of another's, is read. Left early (an interrupt), the jobs are
    cancelled.

    Raises
    ------
    UserError
        If there is no Slurm here, or it refuses the jobs.
    """
    import submitit

    refusals = (RuntimeError, ValueError, OSError, subprocess.SubprocessError, submitit.core.utils.FailedJobError)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        own = Path(tempfile.mkdtemp(prefix=time.strftime("%Y%m%d-%H%M%S-"), dir=folder.resolve()))
        executor = submitit.SlurmExecutor(folder=own, max_num_timeout=TIMEOUTS)
        executor.update_parameters(**_options(jobs))
        with executor.batch():
            sent = [executor.submit(Task(do, progress, 60 * jobs.minutes), item) for item in items]
    except refusals as error:
        raise UserError(f"Slurm took no jobs: {' '.join(str(error).split())[:400]}") from None
    waiting, again = dict(zip(sent, items, strict=True)), set()
    seen = dict.fromkeys(sent, time.monotonic())  # when the job was last in the queue
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
                    if queued is None or job.job_id in queued:
                        seen[job] = time.monotonic()
                    if time.monotonic() - seen[job] < GONE:
                        continue
                item = waiting.pop(job)
                if job in again:
                    trouble = trouble or "ended without a result"
                    yield item, "failed", f"Slurm job {job.job_id}, the second one: {trouble}; see {job.paths.stderr}"
                    continue
                # its node was lost, or a signal met it in its first seconds, before submitit listens
                try:
                    anew = executor.submit(Task(do, progress, 60 * jobs.minutes), item)
                except refusals as error:
                    reason = " ".join(str(error).split())[:300]
                    yield (
                        item,
                        "failed",
                        f"Slurm job {job.job_id}: {trouble or 'lost'}; Slurm took no second one: {reason}",
                    )
                    continue
                waiting[anew], seen[anew] = item, time.monotonic()
                again.add(anew)
            if waiting:
                time.sleep(POLL)
    finally:
        if waiting:
            subprocess.run(["scancel", *(job.job_id for job in waiting)], check=False, capture_output=True)


def _options(jobs: SlurmOptions) -> dict[str, Any]:
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
