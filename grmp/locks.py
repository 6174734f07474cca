"""One owner for each piece of work, over processes and over machines that share a file system.

A lock that the kernel holds (``flock``), not a file that says "busy": it ends with the process that holds it, however that
ends, so that nothing has to be removed by hand. docs/sweep.md says what this asks of a shared file system, and why there is
no lease with a heartbeat. The empty files in ``results/partial/locks`` stay: to delete one would let two owners in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from grmp.errors import UserError

POLL = 0.2  # seconds between two looks at a lock that another process holds


class Locked(Exception):
    """Another process owns this piece of work."""


@contextmanager
def lock(world: Path, name: str, wait: bool = True) -> Iterator[None]:
    """Inside the block no other process, here or on another machine, owns ``name`` in the world ``world``.

    Raises Locked if another process owns it and ``wait`` is False; with ``wait`` a line is printed, and its end awaited;
    UserError if the folder cannot be written, or its file system has no locks.
    """
    path = world / "results/partial/locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # no soft lock where the file system has none: that one would outlive a killed process
        held = FileLock(path, poll_interval=POLL, fallback_to_soft=False)
        try:
            held.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise Locked(name) from None
            print(f"{name}: another process is at it; waiting for its end", flush=True)
            held.acquire()
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot lock {path}: {reason}; the world's folder must be writable, on a file system with locks "
            "(NFS 4, or Lustre mounted with -o flock)"
        ) from None
    try:
        yield
    finally:
        held.release()
