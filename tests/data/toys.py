"""A small database of a test's own, and the script that is killed while it fetches and prepares it.

    python -m tests.data.toys URL FOLDER KILLS

prints, as JSON, what lay in the folder at every kill and what the files hashed to after the run that followed.
"""

import contextlib
import io
import json
import os
import random
import shutil
import signal
import sys
import time
from dataclasses import replace
from pathlib import Path

from grmp.data import databases, fetch, splits
from grmp.data.databases._entry import Database, File, Scores, Source
from grmp.data.prepare import prepare
from grmp.files import sha256
from tests.data.layouts import picture, rated

COUNT = 240
PHASES = ("downloading", "unpacking", "preparing", "before", "fetched", "done")


def archive() -> dict[str, bytes]:
    rows = (f"p{i:03}.png,{1 + i / 100},0.1,r{i % 20},," for i in range(COUNT))
    tree = {f"toy/p{i:03}.png": picture(".png", i, (48, 40)) for i in range(COUNT)}
    return tree | {"toy/scores.csv": rated(*rows)}


def entry(url: str, size: int) -> Database:
    source = Source("a", (File(url, size),))
    return replace(
        databases.get("sim_pre1"),
        name="toy",
        kind="authentic",
        sources=(source,),
        scores=Scores(COUNT, 1.0, 1 + (COUNT - 1) / 100),
        disk=5_000_000,
    )


def job(folder: Path) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        fetch.fetch("toy", folder / "raw")
        table = prepare("toy", folder / "raw", folder / "prepared", 64, "squash")
        splits.make(table, folder / "splits/toy/sound.csv", 3, 0.2, 1, "reference")


def forked(folder: Path, wanted: str = "", delay: float = 0.0) -> dict[str, float]:
    """Run the job in a process of its own; how long it was in each phase.

    With ``wanted`` it is killed ``delay`` seconds after it came to that phase.
    """
    child = os.fork()
    if not child:
        code = 1
        try:
            job(folder)
            code = 0
        finally:
            os._exit(code)
    lasted, last, status = dict.fromkeys(PHASES, 0.0), time.monotonic(), 0
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        now = phase(folder)
        if now == wanted:
            time.sleep(delay)
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            return lasted
        time.sleep(0.002)
        lasted[now], last = lasted[now] + time.monotonic() - last, time.monotonic()
    status = ended[1]
    if status:
        raise SystemExit("a run that nobody killed did not succeed")
    return lasted


def result(folder: Path) -> dict[str, str]:
    """Hashes of all that is there but the time in the receipt."""
    hashes = {str(p.relative_to(folder)): sha256(p) for p in sorted(folder.rglob("*")) if p.is_file()}
    receipt = json.loads((folder / "raw/toy.json").read_text())
    return hashes | {"raw/toy.json": json.dumps({k: v for k, v in receipt.items() if k != "time"}, sort_keys=True)}


def phase(folder: Path) -> str:
    if (folder / "prepared/toy/info.json").is_file():
        return "done"
    if (folder / "prepared").is_dir():
        return "preparing"
    if (folder / "raw/toy.json").is_file() or (folder / "raw/toy").exists():
        return "fetched"
    if (folder / "raw/.toy.partial").exists():
        return "unpacking"
    return "downloading" if list(folder.rglob("*.part")) else "before"


def main(url: str, folder: Path, kills: int) -> None:
    databases.known()["toy"] = entry(url, int(os.environ["TOY_SIZE"]))
    for number in range(2):
        lasted = forked(folder / f"undisturbed{number}" / "data")
    truth = result(folder / "undisturbed1/data")
    rng, seen = random.Random(3), []
    for number in range(kills):
        here, wanted = folder / f"killed{number}" / "data", PHASES[number % 3]
        forked(here, wanted, rng.random() * lasted[wanted])
        seen.append(phase(here))
        forked(here)
        if (got := result(here)) != truth:
            wrong = sorted(k for k in got.keys() | truth.keys() if got.get(k) != truth.get(k))
            raise SystemExit(f"after a kill while {seen[-1]}: {wrong} differ")
        shutil.rmtree(here)
    print(json.dumps(seen))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
