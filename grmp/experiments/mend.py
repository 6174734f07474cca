"""What DVC leaves half-written when it is killed: it writes dvc.lock and its table of locks in place, not beside.

A cut dvc.lock stops the next ``dvc repro`` ("YAML file structure is corrupted"), and so does a cut ``.dvc/tmp/rwlock``, or one
that names a dead DVC whose number another process has by now. The stages that are lost from dvc.lock run again; with their
records in place that takes seconds. Both files are mended under DVC's own locks, so never while a DVC writes them.
"""

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import yaml
from filelock import FileLock, Timeout

from grmp.files import write_text

PATIENCE = 5.0  # seconds to wait for a DVC that holds one of its locks


def mend(world: Path) -> list[str]:
    """Mend both files of the world's repository; returns a line for each that was mended."""
    folders = (world.resolve(), *world.resolve().parents)
    state = next((f / ".dvc/tmp" for f in folders if (f / ".dvc/tmp").is_dir()), None)
    told, lock = [], world / "dvc.lock"
    with _held(state and state / "lock") as free:
        if free and lock.is_file() and (kept := whole_stages(lock.read_text(errors="replace"))) is not None:
            if kept:
                write_text(lock, kept)
            else:
                lock.unlink()
            told.append(f"{lock} was cut off; kept its {kept.count(chr(10) + '    cmd:')} whole stages")
    if state is None:  # DVC was never at work here
        return told
    table = state / "rwlock"
    with _held(state / "rwlock.lock") as free:
        if free and table.is_file() and (living := living_owners(table.read_text(errors="replace"))) is not None:
            write_text(table, living)
            told.append(f"{table} was cut off, or named a DVC that is dead; mended")
    return told


@contextmanager
def _held(path: Path | None) -> Iterator[bool]:
    """Hold one of DVC's locks (zc.lockfile: an flock on that file), if there is one; False if a DVC holds it."""
    if path is None:
        yield True
        return
    lock = FileLock(path, timeout=PATIENCE, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def living_owners(text: str) -> str | None:
    """DVC's table of locks without what dead processes left; None if nothing is wrong with it."""

    def lives(owner: dict[str, Any]) -> bool:
        try:
            return any("dvc" in word for word in psutil.Process(int(owner["pid"])).cmdline())
        except psutil.Error:
            return False

    try:
        table = json.loads(text)
        write = {path: owner for path, owner in table.get("write", {}).items() if lives(owner)}
        read = {path: [o for o in owners if lives(o)] for path, owners in table.get("read", {}).items()}
        kept = {"write": write, "read": {path: owners for path, owners in read.items() if owners}}
        same = kept == {"write": table.get("write", {}), "read": table.get("read", {})}
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return "{}"
    return None if same else json.dumps(kept)


def whole_stages(text: str) -> str | None:
    """A lock file without the stages at its end that are not whole; None if nothing is wrong with it."""
    lines, changed = text.splitlines(keepends=True), bool(text) and not text.endswith("\n")
    heads = [i for i, line in enumerate(lines) if re.fullmatch(r"  \S.*:\s*", line)]
    if changed and heads:  # the last line is cut: its stage cannot be trusted
        lines = lines[: heads.pop()]
    while not _valid("".join(lines)):
        changed = True
        if not heads:
            return ""
        lines = lines[: heads.pop()]
    return "".join(lines) if changed or not text else None


def _valid(text: str) -> bool:
    """Whether DVC would read it."""
    from dvc.schema import COMPILED_LOCKFILE_SCHEMA
    from voluptuous import Invalid

    try:
        return bool(COMPILED_LOCKFILE_SCHEMA(yaml.safe_load(text)))
    except (yaml.YAMLError, Invalid, ValueError, RecursionError):
        return False
