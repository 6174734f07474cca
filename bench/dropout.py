"""What departure 20 costs: one epoch of GRMP-IQA with and without the dropout of the visual prompts, ViT-B/16, seeded weights.

    python -m bench.dropout [--images 16] [--repeats 5] [--out bench/results]

Without it the frozen blocks are computed once per crop: "kept" finds them in the cache, "new" does not. "dropped" computes all
blocks at every step, on each image's copy of the prompts. Medians over the repetitions, which alternate.
"""

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench.measure import alternate, machine
from bench.work import DROPOUT, RATE, Setting, published_schedule
from grmp.clip.model import Backbone, PromptDropout
from grmp.data import crops
from grmp.finetune.loop import Finetuner
from grmp.finetune.types import SplitData, Subset


def epoch(s: Setting, rate: float, cache_gb: float) -> Callable[[], object]:
    """One step on all images, with the features that it needs."""
    method, settings = published_schedule(s, epochs=1)
    settings = settings.model_copy(update={"prompt_dropout": rate, "cache_gb": cache_gb})
    side = Subset(crops.place(s.images.numpy(), s.device), s.target.cpu().double().numpy(), np.arange(len(s.target)))
    ready = Finetuner(Backbone(s.base, s.shape, ""), s.texts, method, settings, [SplitData(0, s.prompts, side, side)])
    dropout, rates = PromptDropout(rate, s.prompts, [[0]]), torch.full((1,), RATE, device=s.device)
    return lambda: ready.train(True, rates, *ready.load(0, 0, 1, [side.rows]), *dropout.masks(len(side.rows)))


def main(arguments: list[str]) -> None:
    """Measure, print, write the csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args(arguments)
    s = Setting(torch.device("cpu"), given.images)
    recipes = {"kept": epoch(s, 0.0, 4.0), "new": epoch(s, 0.0, 0.0), "dropped": epoch(s, DROPOUT, 0.0)}
    recipes["kept"]()  # fills the cache
    found = alternate(recipes, s.device, given.repeats)
    seconds = {name: float(np.median(m.seconds)) for name, m in found.items()}
    rows = [
        {"features": n, "seconds": v, "ratio": seconds["dropped"] / v, "gflop": found[n].flops / 1e9}
        for n, v in seconds.items()
    ]
    table = pd.DataFrame(rows).assign(images=given.images, repeats=given.repeats, machine=machine(s.device))
    print(table.to_string(index=False))
    given.out.mkdir(exist_ok=True, parents=True)
    table.to_csv(given.out / "dropout.csv", index=False, float_format="%.4g", lineterminator="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
