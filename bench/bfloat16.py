"""What bfloat16 in the stem would gain `grmp score` on a CPU, and what it would do to the scores of the shipped scorer.

    python -m bench.bfloat16 IMAGES [--images 100] [--out bench/results]

One image and one thread at a time, as `grmp score` does, decoded beforehand; both precisions of an image are timed next to each
other, in turn first. Only the convolutions of the stem change; everything behind them is float32.
"""

import argparse
import sys
import time
from pathlib import Path

import pandas as pd
import torch

from bench.measure import machine
from grmp import load
from grmp.clip import stem
from grmp.clip.model import pixels
from grmp.data.find import find


@torch.no_grad()
def main(arguments: list[str]) -> None:
    """Measure, print, write the csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    model, device = load(device="cpu"), torch.device("cpu")
    exact = model.clip.weights
    weights = {
        torch.float32: exact,
        torch.bfloat16: {n: t.bfloat16() for n, t in exact.items() if n.startswith(stem.PREFIX)},
    }
    rows = []
    for i, path in enumerate(find([given.folder])[: given.images]):
        image = model.prepare(path)
        if isinstance(image, str):
            continue
        x, row = pixels(torch.from_numpy(image), model.clip.shape), {}
        for dtype in sorted(weights, key=str, reverse=bool(i % 2)):
            start = time.perf_counter()
            features = stem.features(weights[dtype], x.to(dtype)).float()
            name = str(dtype).removeprefix("torch.")
            row |= {name: time.perf_counter() - start, f"{name} score": float(model.logit(features).sigmoid())}
        rows.append(row)
    found = pd.DataFrame(rows)
    change = (found["bfloat16 score"] - found["float32 score"]).abs()
    ratios = (found["float32"] / found["bfloat16"]).quantile([0.5, 0.05, 0.95])
    table = pd.DataFrame(
        {
            "images": [len(found)],
            "float32_ms": 1e3 * found["float32"].median(),
            "bfloat16_ms": 1e3 * found["bfloat16"].median(),
            **dict(zip(["ratio", "ratio_5", "ratio_95"], ratios, strict=True)),
            "largest_change": change.max(),
            "mean_change": change.mean(),
            "machine": machine(device),
        }
    )
    print(table.to_string(index=False))
    given.out.mkdir(exist_ok=True, parents=True)
    table.to_csv(given.out / "bfloat16.csv", index=False, float_format="%.4g", lineterminator="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
