"""`python -m bench.sweep OLD LIVEC`: `grmp sweep` on photographs against an earlier commit, here 466d394, in one run.

    git worktree add --detach /tmp/old 466d394
    python -m bench.sweep /tmp/old .../ChallengeDB_release [--repeats 3]

The settings of that commit's real/ under the sound protocol: LIVE Challenge, 50 labels, ten splits. Both use one seeded CLIP of
the size of the one that was trained there (112 pixels, 3 blocks, no stem, so none of what is saved behind a stem). GRMP-IQA
and meta-learned prompts, which would need pre-training, are replaced by random prompts with and without the rule: the same
work. A sweep has one process per core; the two are timed in turn. bench/results/sweep.csv: seconds by the clock and of the
processor, and ratios of neighbours.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pandas as pd
import torch
import yaml

from bench.history import GRMP, ROOT
from bench.measure import machine
from grmp.clip import checkpoints
from grmp.clip.model import Shape
from tests.golden.weights import clip_weights

SHAPE = Shape(96, 112, 16, 128, 3, 2, 64, 3, 1, True)
CONFIG = {name: value for name, value in vars(SHAPE).items() if name not in ("own", "stem")}  # both have their defaults
METHODS = ["zero_shot", "ridge", "random_prompts", "random_qgr"]
ADAPT = (
    "tuned_blocks",
    "learning_rate",
    "momentum",
    "weight_decay",
    "batch",
    "angle_every",
    "views",
    "scenes",
    "threads",
)


def grmp(folder: Path, code: Path, *command: str) -> tuple[float, float]:
    """Run a command of the package in ``code``; seconds by the clock, and of the processor (its children included)."""
    before, start = os.times(), time.perf_counter()
    environment = os.environ | {"PYTHONPATH": str(code)}
    done = subprocess.run(
        [sys.executable, "-c", GRMP, *command], cwd=folder, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{code}: grmp {' '.join(command)} failed: {done.stderr[-2000:]}")
    after = os.times()
    spent = sum(after[2:4]) - sum(before[2:4])
    return time.perf_counter() - start, spent


def settings(old: Path) -> dict[str, dict[str, Any]]:
    """params.yaml of both versions: that of the old one, shorter, and the same values for ours."""
    theirs = yaml.safe_load((old / "real/params.yaml").read_text())
    theirs["paths"]["code"] = str(old)
    grid = {"protocols": ["sound"], "databases": ["livec"], "methods": METHODS, "shots": [50]}
    theirs["run"]["few_shot"] = grid
    nothing = {"databases": [], "methods": [], "shots": []}
    ours = {
        "extends": str(ROOT / "demo/params.yaml"),
        "paths": {"code": str(ROOT)},
        "data": {name: theirs["data"][name] for name in ("size", "aspect", "allow_missing")}
        | {"databases": theirs["data"]["databases"]},
        "splits": theirs["splits"],
        "protocols": {"sound": {"adapt": {"epochs": theirs["protocols"]["sound"]["adapt"]["epochs"]}}},
        "adapt": {name: theirs["adapt"][name] for name in ADAPT} | {"cache_gb": "auto"},
        "run": {"few_shot": grid, "ablation": nothing, "full": nothing, "cross": nothing},
        "continual": {"sequence": []},
        "inner_curves": {"variants": [], "databases": [], "counts": [0]},
    }
    return {"old": theirs, "new": ours}


def main(arguments: list[str]) -> None:
    """Measure, print, write the csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("livec", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=ROOT / "bench/results")
    given = parser.parse_args(arguments)
    given.out.mkdir(exist_ok=True, parents=True)
    versions, rows = {"old": given.old.resolve(), "new": ROOT}, []
    with tempfile.TemporaryDirectory() as temporary:
        for name, values in settings(versions["old"]).items():
            folder = Path(temporary, name)
            folder.mkdir()
            (folder / "params.yaml").write_text(yaml.safe_dump(values, sort_keys=False))
            checkpoints.save(folder / checkpoints.PATH, clip_weights(SHAPE), {"config": CONFIG})
            for command in (("fetch", "livec", "--from", str(given.livec.resolve())), ("prepare", "livec")):
                grmp(folder, versions[name], "data", *command)
        for repeat in range(given.repeats):
            for name, code in versions.items():
                folder = Path(temporary, name)
                shutil.rmtree(folder / "results/runs", ignore_errors=True)
                clock, processor = grmp(folder, code, "sweep")
                rows.append({"repeat": repeat, "version": name, "clock": clock, "processor": processor})
                print(f"{name}: {clock:.1f} s, {processor:.1f} s of the processor", flush=True)
    wide = pd.DataFrame(rows).pivot(index="repeat", columns="version")
    table = []
    for kind in ("clock", "processor"):
        ratio = wide[kind]["old"] / wide[kind]["new"]
        medians = {f"{version}_seconds": wide[kind][version].median() for version in versions}
        spread = {"ratio": ratio.median(), "ratio_lowest": ratio.min(), "ratio_highest": ratio.max()}
        table.append({"time": kind} | medians | spread)
    found = pd.DataFrame(table).assign(
        runs=len(METHODS),
        repeats=given.repeats,
        machine=machine(torch.device("cpu")).split(",")[0],
    )
    found.to_csv(given.out / "sweep.csv", index=False, float_format="%.4g", lineterminator="\n")
    print(found.drop(columns="machine").to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1:])
