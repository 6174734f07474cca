"""Whole files or none: write beside, flush to disk, rename. And the hashes by which inputs are known."""

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from grmp.errors import UserError

OURS = (".explained.png", ".sheet.png")  # images that commands of this package write
# folders of macOS, NAS and Windows, in lower case
APART = {"__macosx", "@eadir", "@recycle", "#recycle", "@recently-snapshot", "#snapshot", "$recycle.bin"}


@contextmanager
def _named(path: Path) -> Iterator[None]:
    """Turn an error of the operating system into one line about ``path``."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield
    except OSError as error:
        raise UserError(
            f"cannot write {path}: {error.strerror or error}; free some space or choose another folder"
        ) from None


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A temporary path beside ``path``, renamed to ``path`` when the block ends without an error and deleted otherwise.

    A link stays, and what it points to is replaced. Raises UserError if the disk is full or the folder cannot be written.
    """
    path = path.resolve() if path.is_symlink() else path
    beside, old = (path.parent / f".{path.name}.{os.getpid()}.{kind}" for kind in ("partial", "old"))
    with _named(path):
        _clear(path)
        try:
            yield beside
            for written in (*beside.rglob("*"), beside):
                _flush(written)
            if path.is_dir() and beside.is_dir():
                path.replace(old)
            beside.replace(path)
            _flush(path.parent)
        finally:
            _clear(path)


@contextmanager
def whole_folder(path: Path) -> Iterator[Path]:
    """The same for a folder, which is empty at first; an older ``path`` is replaced."""
    with whole(path) as beside:
        beside.mkdir()
        yield beside


def claim(path: Path) -> None:
    """Raise UserError unless the file ``path`` can be written, before the work whose result it will hold."""
    if path.is_dir():
        raise UserError(f"{path} is a folder; name a file in it")
    if path.exists() and not path.is_file():  # /dev/null would become a file
        raise UserError(f"{path} is not a regular file; name another file")
    with _named(path), tempfile.TemporaryFile(dir=path.parent):
        pass


def _clear(path: Path) -> None:
    """Remove what a writer of ``path``, perhaps a killed one, left beside it; locks allow one writer at a time."""
    ours = re.compile(re.escape(f".{path.name}.") + r"[^.]+\.(partial|old)")
    for stray in path.parent.iterdir():
        if ours.fullmatch(stray.name):
            remove(stray)


def remove(path: Path) -> None:
    """Delete a file, a link or a folder, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)  # a killed writer's last worker may still put a file there
    else:
        path.unlink(missing_ok=True)


def _flush(path: Path) -> None:
    """Flush a file or a folder to disk, so that a rename never precedes the content."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def allocate(path: Path) -> None:
    """Take the disk space of a sparse file. Without it, a disk that is full ends the process at a write to a memory map."""
    if hasattr(os, "posix_fallocate"):  # not on macOS and Windows
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)


def write_text(path: Path, text: str) -> None:
    """``text`` as the whole file ``path``."""
    with whole(path) as beside:
        beside.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """``value`` as readable JSON with sorted keys."""
    write_text(path, json.dumps(value, indent=1, sort_keys=True) + "\n")


def read_json(path: Path) -> Any:
    """What a JSON file holds. Raises OSError if it cannot be read, ValueError if it is no JSON."""
    return json.loads(path.read_text(encoding="utf-8"))


def sha256(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_of(value: Any) -> str:
    """sha256 of plain data, by its JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def survey(folder: Path) -> tuple[list[tuple[str, int]], Counter[str]]:
    """(relative path, bytes) of every file below ``folder``, sorted; and how many entries are left out, by kind.

    Left out are hidden files, ``OURS``, and what is in hidden folders or in those of ``APART``. A folder that cannot be read, a
    link to a folder and a broken link count as one each.
    """
    found, left_out = [], Counter[str]()
    for here, folders, files in os.walk(folder, onerror=lambda _: left_out.update(["in unreadable folders"])):
        below = Path(here).relative_to(folder)
        left_out["links to folders"] += sum(Path(here, name).is_symlink() for name in folders)
        for name in files:
            path, apart = Path(here, name), [p for p in below.parts if p.lower() in APART or p.startswith(".")]
            if apart:
                left_out["in hidden folders" if apart[0].startswith(".") else f"in {apart[0]}"] += 1
            elif name.startswith(".") or not os.path.isfile(path):  # noqa: PTH113 - False without access
                left_out["hidden" if name.startswith(".") else "broken links or no files"] += 1
            elif name.endswith(OURS):
                left_out["made by grmp"] += 1
            else:
                found.append(((below / name).as_posix(), path.stat().st_size))
    return sorted(found), +left_out


def listing(folder: Path) -> list[tuple[str, int]]:
    """What ``survey`` finds below ``folder``."""
    return survey(folder)[0]
