"""`python -m bench.history OLD PHOTOGRAPHS`: start-up and `grmp score` against an earlier commit, here 466d394, in one run.

    git worktree add --detach /tmp/old 466d394
    python -m bench.history /tmp/old .../ChallengeDB_release/Images [--repeats 5] [--images 600]

Both score the same photographs with the same file, a seeded ViT of the size of that commit's demo (112 pixels, 3 blocks), in
turn. Times are those of the processor (user and system, all threads), since the wall clock depends on what else runs.
bench/results/history.csv has the medians, and the ratios of neighbours with the lowest and the highest.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.alternatives import photographs
from bench.measure import machine

ROOT = Path(__file__).parent.parent
MODEL = """
import sys
from pathlib import Path
from grmp.clip import Shape
from grmp.model import Model
from tests.golden.weights import clip_weights
import torch
shape = Shape(96, 112, 16, 128, 3, 2, 64, 3, 1, True)
text = torch.nn.functional.normalize(torch.randn(2, 96, generator=torch.Generator().manual_seed(0)), dim=-1)
scale = {"low": 1.0, "high": 5.0, "higher_better": True}
card = {"size": 122, "aspect": "squash", "scale": scale, "method": "zero_shot"}
Model(clip_weights(shape), text, shape, card).save(Path(sys.argv[1]))
"""
GRMP = "from grmp.cli import main; main()"


def seconds(code: Path, *command: str) -> float:
    """Processor seconds of a fresh Python with the package in ``code``."""
    environment = os.environ | {"PYTHONPATH": str(code)}
    child = subprocess.Popen([sys.executable, "-c", *command], cwd=code, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{code}: {command} failed")
    return usage.ru_utime + usage.ru_stime


def main(arguments: list[str]) -> None:
    """Measure, print, write the csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("photographs", type=Path)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results")
    given = parser.parse_args(arguments)
    given.out.mkdir(exist_ok=True, parents=True)
    versions, rows = {"old": given.old.resolve(), "new": ROOT}, []
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder, "model.safetensors")
        seconds(versions["old"], MODEL, str(model))
        many = Path(folder, "photographs")
        many.mkdir()
        paths = photographs(given.photographs)[: given.images]
        for path in paths:
            (many / path.name).symlink_to(path.resolve())
        one = str(many / paths[0].name)
        for repeat in range(given.repeats):
            for name, code in versions.items():
                scored = {
                    "old": lambda images: (GRMP, "score", str(model), images),
                    "new": lambda images: (GRMP, "score", images, "--model", str(model)),
                }[name]
                load = "from grmp.model import load" if name == "old" else "from grmp import load"
                start = seconds(code, *scored(one))
                work = {"grmp --help": seconds(code, GRMP, "--help"), "import load": seconds(code, load)}
                work |= {"grmp score, one image": start}
                work |= {"grmp score, a further image": (seconds(code, *scored(str(many))) - start) / (len(paths) - 1)}
                rows += [{"work": w, "repeat": repeat, "version": name, "seconds": s} for w, s in work.items()]
    wide = pd.DataFrame(rows).pivot(index=["work", "repeat"], columns="version", values="seconds")
    wide["ratio"] = wide["old"] / wide["new"]
    by = wide.groupby("work", sort=False)
    table = by[["old", "new", "ratio"]].median().rename(columns={"old": "old_cpu_seconds", "new": "new_cpu_seconds"})
    table["ratio_lowest"], table["ratio_highest"] = by["ratio"].min(), by["ratio"].max()
    table = table.reset_index().assign(
        images=len(paths),
        repeats=given.repeats,
        load=np.round(os.getloadavg()[1], 1),
        machine=machine(torch.device("cpu")),
    )
    table.to_csv(given.out / "history.csv", index=False, float_format="%.4g", lineterminator="\n")
    print(table.drop(columns="machine").to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1:])
