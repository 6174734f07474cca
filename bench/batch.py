"""Frozen features of the small CLIP on one core: milliseconds per crop against the crops of a batch, in both precisions.

    python -m bench.batch [--repeats 7] [--out bench/results]

What the transformer in front of its last block makes of the stem's features, with eight visual prompts, as fine-tuning asks for
it. Sizes of a batch are timed in turn; medians over the repetitions, and lowest and highest ratio to single crops in the same
repetition. grmp/finetune/feature_cache.py uses the size from which a larger one gains little.
"""

import argparse
import sys
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.measure import machine, timed
from grmp.clip import shipped
from grmp.clip.model import random_prompts
from grmp.clip.precision import reduced

SIZES, CROPS, CPU = (1, 2, 4, 8, 16, 32), 64, torch.device("cpu")


@torch.no_grad()
def main(arguments: list[str]) -> None:
    """Measure, print, write the csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    small, generator = shipped.load("small"), torch.Generator().manual_seed(0)
    clip, last = small.prompted(random_prompts(small.shape, 8, 0, 4, "layer", generator)), small.shape.vision_layers - 1
    x = torch.rand(CROPS, 896, 7, 7, generator=generator)
    rows = []
    for precision in ("float32", "float16"):

        def features(batch: int, precision: str = precision) -> None:
            with reduced(CPU, precision):
                for part in x.split(batch):
                    clip.features(part, last)

        for batch in SIZES:
            features(batch)  # warm
        found = np.array([[timed(partial(features, n), CPU)[0] for n in SIZES] for _ in range(given.repeats)])
        ratios = found[:, :1] / found
        for i, batch in enumerate(SIZES):
            row = {"precision": precision, "batch": batch, "ms_per_crop": 1e3 * np.median(found[:, i]) / CROPS}
            rows.append(row | {"ratio": np.median(ratios[:, i]), "low": ratios[:, i].min(), "high": ratios[:, i].max()})
    table = pd.DataFrame(rows).assign(repeats=given.repeats, machine=machine(CPU))
    print(table.to_string(index=False))
    given.out.mkdir(exist_ok=True, parents=True)
    table.to_csv(given.out / "batch.csv", index=False, float_format="%.4g", lineterminator="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
