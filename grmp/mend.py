"""What DVC leaves half-written when it is killed: it writes dvc.lock and its table of locks in place, not beside.

A cut dvc.lock stops the next ``dvc repro`` ("YAML file structure is corrupted"), and so does a cut ``.dvc/tmp/rwlock``. The
stages that are lost from dvc.lock run again; with their records in place that takes seconds.
"""

import json
import re
from pathlib import Path

import yaml


def mend(world: Path) -> list[str]:
    """Mend both files of the world's repository; returns a line for each that was mended."""
    told = []
    lock = world / "dvc.lock"
    if lock.is_file() and (kept := whole_stages(lock.read_text(errors="replace"))) is not None:
        if kept:
            beside = lock.with_name(".dvc.lock.mended")
            beside.write_text(kept)
            beside.replace(lock)
        else:
            lock.unlink()
        told.append(f"{lock} was cut off; kept its {kept.count(chr(10) + '    cmd:')} whole stages")
    for folder in (world.resolve(), *world.resolve().parents):
        table = folder / ".dvc/tmp/rwlock"
        if table.is_file():
            try:
                json.loads(table.read_text())
            except ValueError:
                table.unlink()
                told.append(f"{table} was cut off; removed")
            break
    return told


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
