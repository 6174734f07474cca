"""How many points do integrated gradients need, and where? Maps of `photo` against those of many points.

    python -m bench.steps IMAGES [--images 8]

Points lie on the line from a constant image to the image, at powers of midpoints: 1 is equally far apart, higher powers are
denser near the constant image. bench/results/steps.csv has, for each number of points and power, the correlation of a map
with that of 256 points (median and lowest over the images), and the error of its sum as a share of the sum of its absolute
values (median and largest).
"""

import argparse
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.alternatives import photographs
from grmp.clip.model import pixels
from grmp.device import choose_device, cpus
from grmp.experiments.attribution import POWER, relevance
from grmp.finetune.scorer import load

MANY = 256
RESULTS = Path(__file__).parent / "results"


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, write the csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--images", type=int, default=8)
    given = parser.parse_args(arguments)
    paths = photographs(given.folder)
    paths = paths[:: len(paths) // given.images][: given.images]
    model = load("photo", choose_device("cpu", 1))
    prepared = [x for x in map(model.prepare, paths) if not isinstance(x, str)]
    images = pixels(torch.from_numpy(np.concatenate(prepared)), model.clip.shape).split(1)
    rows = []
    with ThreadPoolExecutor(cpus()) as pool:

        def maps(steps: int, power: int) -> tuple[np.ndarray, np.ndarray]:
            found = pool.map(partial(relevance, model, steps=steps, power=power), images)
            each, gaps = zip(*found, strict=True)
            return torch.cat(each).flatten(1).numpy(), torch.cat(gaps).abs().numpy()

        exact, _ = maps(MANY, POWER)
        for steps, power in product((16, 32, 64), (1, 2, 3, 4)):
            found, gaps = maps(steps, power)
            alike = np.array([np.corrcoef(*pair)[0, 1] for pair in zip(found, exact, strict=True)])
            share = gaps / np.abs(found).sum(1)
            row = {"steps": steps, "power": power, "images": len(images), "correlation": np.median(alike)}
            row |= {"correlation_lowest": alike.min(), "gap": np.median(share), "gap_largest": share.max()}
            rows.append(row)
            print(row, flush=True)
    pd.DataFrame(rows).to_csv(RESULTS / "steps.csv", index=False, float_format="%.3g", lineterminator="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
