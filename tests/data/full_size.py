"""KonIQ-10k at full size: its 10,073 real names with generated 1024x768 JPEGs, through fetch and prepare.

    python -m tests.data.full_size FOLDER [--write]

measures time, peak memory and the array; ``--write`` puts the numbers into docs/databases.md. Needs about 8 GB in FOLDER and
GRMP_SHARED with the real score files; the pictures are smooth noise whose JPEGs weigh about as much as the real ones.
"""

import argparse
import io
import json
import os
import platform
import re
import resource
import subprocess
import sys
import threading
import time
import zipfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.conftest import ROOT
from tests.data import layouts

MARK = re.compile(r"(<!-- full size -->\n).*?(<!-- end -->)", re.DOTALL)


def pictures(count: int = 16) -> list[bytes]:
    """Generated 1024 x 768 JPEGs of about half a megabyte."""
    made = []
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = Image.fromarray(rng.integers(0, 256, (96, 128, 3), np.uint8)).resize(
            (1024, 768), Image.Resampling.BICUBIC
        )
        grain = rng.normal(0, 12, (768, 1024, 3))
        out = io.BytesIO()
        Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)).save(out, "JPEG", quality=90)
        made.append(out.getvalue())
    return made


def archives(shared: Path, folder: Path) -> Path:
    """The two official archives in ``folder``."""
    tree, made = layouts.koniq10k(shared), pictures()
    layouts.pack(tree["koniq10k_scores_and_distributions.zip"], folder / "koniq10k_scores_and_distributions.zip")
    with zipfile.ZipFile(folder / "koniq10k_1024x768.zip", "w") as archive:
        for i, name in enumerate(tree["koniq10k_1024x768.zip"]):
            archive.writestr(name, made[i % len(made)])
    return folder


def memory() -> tuple[float, float]:
    """Anonymous and file-backed resident memory of this process in MB; the mapped array is file-backed."""
    text = Path("/proc/self/status").read_text()
    anonymous, files = (int(re.search(rf"{key}:\s+(\d+)", text)[1]) / 1000 for key in ("RssAnon", "RssFile"))
    return anonymous, files


def stage(name: str, folder: Path) -> None:
    """One stage in this process; prints seconds and peaks as JSON."""
    from grmp.data import fetch
    from grmp.data.prepare import prepare

    peaks, stop = [memory()], threading.Event()

    def watch() -> None:
        while not stop.wait(0.05):
            peaks.append(memory())

    thread = threading.Thread(target=watch)
    thread.start()
    began = time.monotonic()
    if name == "fetch":
        fetch.fetch("koniq10k", folder / "raw", folder / "origin")
    else:
        prepare("koniq10k", folder / "raw", folder / "prepared", 244, "squash")
    seconds = time.monotonic() - began
    stop.set()
    thread.join()
    anonymous = max(p[0] for p in peaks)
    total = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
    print(json.dumps({"seconds": seconds, "anonymous": anonymous, "total": total}))


def measure(folder: Path, shared: Path) -> dict[str, dict[str, float]]:
    """Both stages, each in a process of its own."""
    if not (folder / "origin").exists():
        archives(shared, folder / "origin")
    numbers = {}
    for name in ("fetch", "prepare"):
        command = [sys.executable, "-m", "tests.data.full_size", str(folder), "--stage", name]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
        numbers[name] = json.loads(done.stdout.splitlines()[-1])
    array = folder / "prepared/koniq10k/images.npy"
    shape = np.load(array, mmap_mode="r").shape
    numbers["array"] = {"pictures": shape[0], "size": shape[2], "bytes": array.stat().st_size}
    return numbers


def write(numbers: dict[str, dict[str, float]]) -> None:
    """The table in docs/databases.md."""
    rows = [
        f"| {name} | {n['seconds']:.0f} s | {n['anonymous']:.0f} MB | {n['total']:.0f} MB |"
        for name, n in numbers.items()
        if name != "array"
    ]
    a = numbers["array"]
    threads = len(os.sched_getaffinity(0))
    lines = [
        f"{a['pictures']:,} images on {threads} CPU cores ({platform.machine()}, Python {platform.python_version()}):",
        "",
        "| stage | time | peak memory beyond mapped files | peak with them |",
        "|---|---|---|---|",
        *rows,
        "",
        f"The array is ({a['pictures']}, 3, {a['size']}, {a['size']}) uint8, {a['bytes']:,} bytes.",
    ]
    path = ROOT / "docs/databases.md"
    path.write_text(MARK.sub(lambda m: m[1] + "\n".join(lines) + "\n" + m[2], path.read_text()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--stage")
    given = parser.parse_args()
    if given.stage:
        stage(given.stage, given.folder)
    else:
        found = measure(given.folder, Path(os.environ.get("GRMP_SHARED", ROOT.parent / "shared")))
        print(json.dumps(found, indent=1))
        if given.write:
            write(found)
