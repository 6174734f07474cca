"""Processes of this machine that do one piece of work after another; one that dies or hangs takes nothing else with it.

Not ``ProcessPoolExecutor``: there a worker that is killed breaks the whole pool, and none can be stopped for taking too long.
"""

import contextlib
import math
import os
import time
import traceback
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any

from grmp.errors import UserError

TRIES = 2  # of a piece of work whose worker vanished
STARTING = 600.0  # seconds that a process may take to import what it needs
# spawned, not forked: torch's thread pools do not survive a fork
_context = get_context("spawn")


class Worker:
    """One process, and what it is at."""

    def __init__(self, do: Callable[[Any], Any], gpu: str | None) -> None:
        """``do`` is called in the process for each item; ``gpu`` is the only GPU that it sees, None changes nothing."""
        self.gpu, self.item, self.ready = gpu, None, False
        self.since = math.inf  # when it began: not before it is ready
        self.born = time.monotonic()
        self.pipe, theirs = _context.Pipe()
        self.process = _context.Process(target=_serve, args=(theirs, do, gpu), daemon=True)
        self.process.start()
        theirs.close()

    def give(self, item: Any) -> None:
        """Begin with ``item``."""
        self.item, self.since = item, time.monotonic() if self.ready else math.inf
        self.pipe.send(item)

    def late(self, limit: float | None) -> str:
        """Why it should be stopped, or an empty text."""
        now = time.monotonic()
        if not self.ready and now - self.born > STARTING:
            return f"its process did not start within {STARTING:g} s"
        return f"stopped after {limit:g} s (--time-limit)" if limit is not None and now - self.since > limit else ""

    def stop(self) -> None:
        """End the process: at once if it is at something, by itself if not."""
        if self.item is not None:
            self.process.kill()
        self.item = None
        self.pipe.close()
        self.process.join(10)
        self.process.kill()
        self.process.join()


def _serve(pipe: Connection, do: Callable[[Any], Any], gpu: str | None) -> None:
    """The worker's side: ends when the other side is gone."""
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu  # before torch looks
    with contextlib.suppress(OSError):  # nobody waits for it any more: the next line finds that out
        pipe.send(("ready", None))
    while True:
        try:
            item = pipe.recv()
        except (EOFError, OSError, KeyboardInterrupt):
            return
        try:
            answer = ("done", do(item))
        except UserError as error:
            answer = ("failed", str(error))
        except KeyboardInterrupt:
            return
        except BaseException as error:
            traceback.print_exc()
            answer = ("failed", f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")
        try:
            pipe.send(answer)
        except OSError:
            return


def work(
    do: Callable[[Any], Any], items: Sequence[Any], places: Sequence[str | None], limit: float | None = None
) -> Iterator[tuple[Any, str, Any]]:
    """Do all ``items``, and yield (item, "done" or "failed", result or reason) of each as it ends.

    Parameters
    ----------
    places
        One process each: the GPU that it sees, or None.
    limit
        Seconds that one item may take; its process is killed then, and the item has failed.
    """
    waiting: deque[tuple[Any, int]] = deque((item, 1) for item in items)
    workers: list[Worker] = []
    tries: dict[int, int] = {}
    try:
        workers = [Worker(do, gpu) for gpu in places[: len(items)]]
        while waiting or any(w.item is not None for w in workers):
            for number, worker in enumerate(workers):
                if worker.item is None and waiting:
                    item, tries[number] = waiting.popleft()
                    try:
                        worker.give(item)
                    except OSError:  # it died while it had nothing to do
                        worker.stop()
                        workers[number] = Worker(do, worker.gpu)
                        waiting.appendleft((item, tries[number]))
            busy = [w for w in workers if w.item is not None]
            if not busy:
                continue  # the only one that was given something had died; it has been replaced
            wait([w.pipe for w in busy] + [w.process.sentinel for w in busy], timeout=_patience(busy, limit))
            for number, worker in enumerate(workers):
                if worker.item is None:
                    continue
                item, ended = worker.item, None
                with contextlib.suppress(EOFError, OSError):
                    ended = worker.pipe.recv() if worker.pipe.poll() else None
                if ended == ("ready", None):
                    worker.ready, worker.since = True, time.monotonic()
                    continue
                if ended is not None:
                    worker.item = None
                    yield item, *ended
                    continue
                late = worker.late(limit)
                if worker.process.is_alive() and not late:
                    continue
                worker.stop()
                code = worker.process.exitcode
                if not late and tries[number] < TRIES:
                    waiting.append((item, tries[number] + 1))
                if waiting:
                    workers[number] = Worker(do, worker.gpu)
                if late:
                    yield item, "failed", late
                elif tries[number] >= TRIES:
                    how = f"signal {-code}" if code and code < 0 else f"exit code {code}"
                    yield item, "failed", f"its process vanished {TRIES} times ({how}); out of memory?"
    finally:
        for worker in workers:
            worker.stop()


def _patience(busy: Sequence[Worker], limit: float | None) -> float | None:
    """Seconds until the first worker is late."""
    ends = [w.born + STARTING for w in busy if not w.ready] + [w.since + limit for w in busy if w.ready and limit]
    return max(0.05, min(ends) - time.monotonic()) if ends else None
