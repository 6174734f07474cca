"""Locks between processes, on one machine or on several that share a file system (docs/sweep.md).

The kernel holds each lock (``flock``) and releases it when the process ends, so there is nothing to clean up. The empty files
in ``results/partial/locks`` stay: deleting one would let two processes in.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from grmp.errors import UserError


class Locked(Exception):
    """Another process holds the lock."""


@contextmanager
def lock(root: Path, name: str, wait: bool = True) -> Iterator[None]:
    """Hold the lock ``name`` of the pipeline folder ``root`` inside the block; no other process can hold it.

    With ``wait``, a line is printed while another process holds it; without, Locked is raised. Raises UserError if the
    folder cannot be written, or its file system has no locks.
    """
    path = root / "results/partial/locks" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # a soft lock, filelock's fallback, would outlive a killed process
        held = FileLock(path, fallback_to_soft=False)
        try:
            held.acquire(timeout=0)
        except Timeout:
            if not wait:
                raise Locked(name) from None
            print(f"{name}: another process is working on it; waiting", flush=True)
            held.acquire()
    except (OSError, NotImplementedError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UserError(
            f"cannot lock {path}: {reason}; the pipeline folder must be writable, on a file system with locks "
            "(NFS 4, or Lustre mounted with -o flock)"
        ) from None
    try:
        yield
    finally:
        held.release()
