"""Put what the stem makes of 100 photographs into the package: `python -m small.reference /path/to/BIQ2021 [MODEL ...]`.

A model of your own scores them at the end of its training, so that a score has a percentile among photographs of BIQ2021.
They come from the 1,000 photographs of the official training part on which no shipped model was trained: sorted by MOS, one of
every ten, so that few stand for all. Each channel is stored in 8 bits, between its lowest and its highest value.

With names of models (shipped ones, or files of `grmp train`), the command also says how far their percentiles are off: because
of the 8 bits, and because 100 photographs stand for all 1,000, or for as many on which `small-rated` was trained.
"""

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from grmp.clip import shipped
from grmp.clip.model import Tensors, pixels
from grmp.finetune import trust
from grmp.finetune.scorer import QualityModel, load
from small import packing
from small.photographs import biq2021, held_out

COUNT = 100
SEED = 0


def draw(mos: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(COUNT,) positions in (N,): sorted by MOS, one of each of as many equal parts."""
    return np.array([rng.choice(part) for part in np.array_split(np.argsort(mos, kind="stable"), COUNT)])


@torch.no_grad()
def features(paths: list[Path]) -> Tensor:
    """(N, 896, 7, 7) float32, of photographs prepared as `grmp score` does."""
    model, found = load(device="cpu"), []
    for path in tqdm(paths, "features of the stem", unit="photo", mininterval=5):
        image = model.prepare(path)
        if isinstance(image, str):
            raise SystemExit(f"error: {path}: {image}")
        found.append(model.clip.features(pixels(torch.from_numpy(image), model.clip.shape), -1))
    return torch.cat(found)


def quantized(grid: Tensor) -> Tensors:
    """(N, C, h, w) as 8-bit ``levels``; times ``step`` plus ``lowest``, both (C, 1, 1), they are the features again."""
    lowest, highest = grid.amin((0, 2, 3)).half(), grid.amax((0, 2, 3)).half()
    step = ((highest - lowest) / 255).clamp(min=2**-14)  # float16 has no smaller one in full precision
    lowest, step = lowest[:, None, None], step[:, None, None]
    levels = ((grid - lowest.float()) / step.float()).round().clamp(0, 255)
    return {"levels": levels.byte(), "step": step, "lowest": lowest}


def off(model: QualityModel, few: Tensor, kept: Tensor, held: Tensor, trained: Tensor) -> str:
    """How far scores are off because of the 8 bits, and percentiles because ``kept`` stand for ``held`` or ``trained``."""
    exact, stored, all_held, others = (model.quality(part.numpy()) for part in (few, kept, held, trained))
    mine, *wanted = (
        trust.judge(trust.among(known, ""), model.scale, all_held)["percentile"] for known in (stored, all_held, others)
    )
    differ = [
        f"{np.abs(mine - other).mean():.1f} on average, {np.abs(mine - other).max():.1f} at most" for other in wanted
    ]
    return (
        f"8 bits change a score by at most {np.abs(stored - exact).max():.4f}; percentiles among {len(kept)} photographs "
        f"differ from those among {len(held)} by {differ[0]}; among {len(trained)} of the training: {differ[1]}"
    )


def put(folder: Path, models: list[str], into: Path = shipped.FOLDER) -> None:
    """Write the file, and say for each model how far its percentiles are off."""
    training, rng = biq2021(folder, "train"), np.random.default_rng(SEED)
    out = held_out(len(training.paths))
    held, trained = np.flatnonzero(out), rng.choice(np.flatnonzero(~out), out.sum(), replace=False)
    rows = draw(training.mos[held], rng)
    few = features([training.paths[row] for row in held[rows]])
    packing.write(shipped.REFERENCE, quantized(few), {"source": "BIQ2021, training part, held out"}, into)
    if models:
        more = features([training.paths[row] for row in [*held, *trained]]).split([len(held), len(trained)])
    for name in models:
        print(f"{name}: {off(load(name, 'cpu'), few, shipped.reference(into), *more)}", flush=True)


if __name__ == "__main__":
    put(Path(sys.argv[1]), sys.argv[2:])
