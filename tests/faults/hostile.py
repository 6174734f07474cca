"""Feed one reader damaged files, in a process with a bound on memory, file size and time.

    python -m tests.faults.hostile READER COUNT SEED FOLDER

prints as JSON how often the file was taken, refused in one line, and everything that went otherwise.
"""

import contextlib
import io
import json
import os
import resource
import shutil
import signal
import sys
import warnings
from pathlib import Path

import numpy as np

from grmp.data.download import SourceFailed
from grmp.errors import UserError
from grmp.experiments.records import Damaged
from tests.faults.mutate import damage
from tests.faults.readers import READERS

MEMORY = 1 << 30  # bytes beyond what the process has when it starts to read
SECONDS = 20  # for one file
INSIDE = "a/b/inside"
LONGEST = 2000  # characters of a line that a user reads
KNOWN = (UserError, Damaged, SourceFailed)


class TooLong(Exception):
    pass


def _alarm(*_: object) -> None:
    raise TooLong


def limits() -> None:
    size = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (size + MEMORY, size + MEMORY))
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 28, 1 << 28))
    signal.signal(signal.SIGALRM, _alarm)


def tree(folder: Path, may: str) -> dict[str, int]:
    """Every file but those below ``may``, where the reader writes (``may`` itself among them, and what leads there)."""
    inside = f"{INSIDE}/{may}".rstrip("/")
    names = {
        str(p.relative_to(folder)): p.lstat().st_size for p in folder.rglob("*") if not p.is_dir() or p.is_symlink()
    }
    return {name: size for name, size in names.items() if not name.startswith(inside)}


def attempt(name: str, pristine: Path, box: Path, seed: list[int]) -> str:
    """``taken``, ``refused``, or what went wrong."""
    reader, rng = READERS[name], np.random.default_rng(seed)
    inside = box / INSIDE
    shutil.copytree(pristine, inside, symlinks=True)
    files = (
        sorted(p for p in inside.rglob(reader.only) if p.is_file())
        if "/" not in reader.only
        else sorted(inside.glob(reader.only))
    )
    file = files[rng.integers(len(files))]
    file.write_bytes(damage(file.read_bytes(), file.name, rng))
    before, verdict = tree(box, reader.writes), "taken"
    signal.alarm(SECONDS)
    try:
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            reader.read(inside)
    except KNOWN as error:
        line = str(error)
        bad = "\n" in line or len(line) > LONGEST or not line.strip()
        verdict = f"no clear line: {line[:300]!r}" if bad else "refused"
    except BaseException as error:
        verdict = f"{type(error).__name__}: {str(error)[:300]}"
    finally:
        signal.alarm(0)
    if tree(box, reader.writes) != before or Path("/tmp/grmp-escaped").exists():
        verdict = "wrote outside"
    shutil.rmtree(inside)
    return verdict if verdict in ("taken", "refused") else f"{file.name}, seed {seed}: {verdict}"


def main(name: str, count: int, seed: int, folder: Path) -> None:
    warnings.simplefilter("ignore")
    pristine, box = folder / "pristine", folder / "box"
    pristine.mkdir()
    READERS[name].make(pristine)
    (box / "a/b").mkdir(parents=True)
    reader = READERS[name]
    shutil.copytree(pristine, box / "a/b/inside", symlinks=True)
    reader.read(box / "a/b/inside")  # what nobody damaged is taken; and all is imported
    shutil.rmtree(box / "a/b/inside")
    os.chdir(box / "a/b")
    limits()
    verdicts = [attempt(name, pristine, box, [seed, i]) for i in range(count)]
    wrong = [v for v in verdicts if v not in ("taken", "refused")]
    print(json.dumps({"taken": verdicts.count("taken"), "refused": verdicts.count("refused"), "wrong": wrong}))


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
