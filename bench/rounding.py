"""Do numbers depend on rounding? By how much SRCC moves when every weight of the CLIP changes by one part in a million.

    cd demo && PYTHONPATH=.. ../.venv/bin/python -m bench.rounding sim_pre2 [random_prompts grmp] [--output FILE]

Without names, every method of the settings' grids under their protocols (bench/results/rounding.csv: those of demo/).
Another processor does as much to a result. A schedule under which training then ends elsewhere gives numbers that nobody can
repeat: choose another one (bench/schedule.py), on a database that is for training. The exit code is 1 if a split moves by more
than 0.005, the tolerance of `grmp verify`.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from grmp import methods, params
from grmp.clip.model import Backbone
from grmp.clip.stem import PREFIX
from grmp.methods.context import RunContext, open_context
from grmp.metrics import srcc
from grmp.params import RunKey

NOISE, TOLERANCE = 1e-6, 0.005
COLUMNS = ["protocol", "database", "method", "shots", "splits", "srcc", "change"]


def perturbed(backbone: Backbone, seed: int) -> Backbone:
    """The backbone with every weight but those of a frozen stem multiplied by 1 + NOISE z, z standard normal."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        n: w if n.startswith(PREFIX) else w * (1 + NOISE * torch.randn(w.shape, generator=generator).to(w.device))
        for n, w in sorted(backbone.weights.items())
    }
    return replace(backbone, weights=weights)


def scores(context: RunContext, method: str, splits: int) -> np.ndarray:
    """(splits,) SRCC; NaN where training failed."""
    found = methods.prepare(context, method)(list(range(splits)))
    quality = context.target.index["quality"].to_numpy(float)
    each = zip(found, map(context.tested.test, range(splits)), strict=True)
    return np.array([np.nan if one.failure else srcc(quality[rows], one.scores)[0] for one, rows in each])


def stability(context: RunContext, method: str, splits: int) -> tuple[float, float]:
    """Mean SRCC over splits, and the largest change of a split's under perturbation (NaN if one failed)."""
    plain = scores(context, method, splits)
    moved = scores(replace(context, backbone=perturbed(context.backbone, 0), features=None), method, splits)
    return float(plain.mean()), float(np.abs(plain - moved).max())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure methods under the settings of params.yaml."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database")
    parser.add_argument("methods", nargs="*")
    parser.add_argument("--shots", type=int, nargs="*", default=[10, 20])
    parser.add_argument("--splits", type=int, default=3)
    parser.add_argument("--protocol", default="sound")
    parser.add_argument("--output", type=Path, help="a CSV")
    given = parser.parse_args(arguments)
    loaded, rows = params.load(Path("params.yaml")), []
    torch.set_num_threads(1)
    asked = [(given.protocol, method) for method in given.methods]
    for protocol, method in asked or grid(loaded):
        for shots in given.shots:
            context = open_context(loaded, Path(), RunKey(protocol, given.database, method, shots))
            mean, change = stability(context, method, given.splits)
            print(f"{protocol}, {method}, {shots} labels: SRCC {mean:.3f}, moves by {change:.4f}", flush=True)
            rows.append([protocol, given.database, method, shots, given.splits, round(mean, 4), round(change, 5)])
            if given.output:
                pd.DataFrame(rows, columns=COLUMNS).to_csv(given.output, index=False, lineterminator="\n")
    return 0 if all(row[-1] <= TOLERANCE for row in rows) else 1


def grid(loaded: params.Params) -> list[tuple[str, str]]:
    """Protocols and methods of the settings' runs, without methods whose predictions come from elsewhere."""
    keys = [key for key in loaded.run.run_keys() if loaded.methods[key.method].computed]
    return list(dict.fromkeys((key.protocol, key.method) for key in keys))


if __name__ == "__main__":
    sys.exit(main())
