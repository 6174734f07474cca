"""Do numbers depend on rounding? By how much SRCC moves when every weight of the CLIP changes by one part in a million.

    cd demo && PYTHONPATH=.. ../.venv/bin/python -m bench.rounding sim_pre2 random_prompts grmp [--shots 10 20]

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
import torch

from grmp import methods, params
from grmp.clip.model import Backbone
from grmp.clip.stem import PREFIX
from grmp.methods.context import RunContext, open_context
from grmp.metrics import srcc
from grmp.params import RunKey

NOISE, TOLERANCE = 1e-6, 0.005


def perturbed(backbone: Backbone, seed: int) -> Backbone:
    """The backbone with every weight but those of a frozen stem multiplied by 1 + NOISE z, z standard normal."""
    generator = torch.Generator().manual_seed(seed)
    weights = {
        n: w if n.startswith(PREFIX) else w * (1 + NOISE * torch.randn(w.shape, generator=generator))
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
    moved = scores(replace(context, backbone=perturbed(context.backbone, 0)), method, splits)
    return float(plain.mean()), float(np.abs(plain - moved).max())


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure every method under the settings of params.yaml."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("database")
    parser.add_argument("methods", nargs="+")
    parser.add_argument("--shots", type=int, nargs="*", default=[10, 20])
    parser.add_argument("--splits", type=int, default=5)
    parser.add_argument("--protocol", default="sound")
    given = parser.parse_args(arguments)
    loaded, stable = params.load(Path("params.yaml")), True
    torch.set_num_threads(1)
    for method in given.methods:
        for shots in given.shots:
            context = open_context(loaded, Path(), RunKey(given.protocol, given.database, method, shots))
            mean, change = stability(context, method, given.splits)
            stable &= change <= TOLERANCE
            print(f"{method}, {shots} labels: SRCC {mean:.3f}, moves by {change:.4f}", flush=True)
    return 0 if stable else 1


if __name__ == "__main__":
    sys.exit(main())
