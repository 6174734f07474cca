"""Local worker processes in which one item that crashes, hangs or runs out of memory affects no other item.

One ``ProcessPoolExecutor`` per process: a killed process breaks only its own executor, and can be killed by its pid when it
takes too long. submitit's local executor has no limit on the number of processes.
"""

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from grmp.errors import UserError, one_line

TRIES = 2  # of an item whose process was killed
POLL = 0.2  # seconds between two checks of the time limit


class _Worker:
    """A process, started when it gets its first item, and started again after it was killed."""

    def __init__(self, gpu: str | None) -> None:
        self.gpu = gpu
        self.executor: ProcessPoolExecutor | None = None

    def submit(self, do: Callable[[Any], Any], item: Any, tries: int) -> "Future[tuple[str, Any]]":
        self.item, self.tries, self.late, self.since = item, tries, False, time.monotonic()
        with contextlib.suppress(BrokenProcessPool):  # it was killed while it was idle
            if self.executor:
                return self.executor.submit(call, do, item)
        # spawned, not forked: torch's thread pools do not survive a fork
        context = multiprocessing.get_context("spawn")
        self.executor = ProcessPoolExecutor(1, context, initializer=_begin, initargs=(self.gpu,))
        self.pid = self.executor.submit(os.getpid)
        return self.executor.submit(call, do, item)

    def check(self, limit: float) -> None:
        """Kill the process if its item takes longer than ``limit`` seconds."""
        if time.monotonic() - self.since > limit:
            self.late = True
            with contextlib.suppress(BrokenProcessPool, ProcessLookupError):
                os.kill(self.pid.result(), signal.SIGKILL)


def _begin(gpu: str | None) -> None:
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before torch is imported
    atexit.register(os._exit, 0)  # without unloading torch, which takes 0.6 s
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C: the parent stops its workers
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    if parent := multiprocessing.parent_process():
        parent.join()
        os._exit(1)


def call(do: Callable[[Any], Any], item: Any) -> tuple[str, Any]:
    """("done", result) or ("failed", reason), whatever happens in ``do``."""
    try:
        return "done", do(item)
    except UserError as error:
        return "failed", str(error)
    except Exception as error:
        traceback.print_exc()
        return "failed", f"{type(error).__name__}: {one_line(error, 300)}"


def work(
    do: Callable[[Any], Any], items: Sequence[Any], places: Sequence[str | None], limit: float | None = None
) -> Iterator[tuple[Any, str, Any]]:
    """Call ``do`` on all ``items`` and yield (item, "done" or "failed", result or reason) as each one ends.

    Each of ``places`` is one process: the GPU that it sees, or None. A process whose item takes more than ``limit`` seconds is
    killed, and the item has failed.
    """
    waiting = deque((item, 1) for item in items)
    idle = [_Worker(gpu) for gpu in places[: len(items)]]
    workers, busy = list(idle), dict[Future[tuple[str, Any]], _Worker]()
    try:
        while waiting or busy:
            while waiting and idle:
                worker = idle.pop(0)
                busy[worker.submit(do, *waiting.popleft())] = worker
            for future in wait(busy, POLL if limit else None, FIRST_COMPLETED).done:
                worker = busy.pop(future)
                idle.append(worker)
                try:
                    state, result = future.result()
                except BrokenProcessPool:
                    worker.executor = None
                    if not worker.late and worker.tries < TRIES:
                        waiting.append((worker.item, worker.tries + 1))
                        continue
                    state, result = "failed", f"its worker process was killed {TRIES} times, probably out of memory"
                    if worker.late:
                        result = f"stopped after {limit:g} s (--time-limit)"
                yield worker.item, state, result
            if limit:
                for worker in busy.values():
                    worker.check(limit)
    except BaseException:  # Ctrl-C above all, which may come while a process is being started
        for process in multiprocessing.active_children():
            process.kill()
        raise
    finally:
        for worker in workers:
            if worker.executor:
                worker.executor.shutdown(cancel_futures=True)
