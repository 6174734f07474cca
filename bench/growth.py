"""`python -m bench growth`: seconds and memory against the number of images, shots, splits and methods.

    python -m bench growth [--repeats 3] [--out bench/results]

Four sizes of each, the others at their smallest; ViT-B/16's shape at an eighth of its width and half of its blocks, so that it
takes minutes. bench/results/growth.csv and .png; docs/speed.md says what to expect and why.
"""

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from bench import draw
from bench.measure import machine, timed
from grmp.clip.model import Backbone, Shape, prompted_texts, tokenize
from grmp.finetune.loop import finetune
from grmp.finetune.types import TEACHER_SCENE, SplitData, Subset, Texts
from grmp.params import Adapt, Tune, load
from tests.golden import weights

SHAPE = Shape(64, 64, 8, 96, 6, 2, 64, 6, 1, True, "imagenet")
SIZES = {
    "test images": (100, 200, 400, 800),
    "shots": (25, 50, 100, 200),
    "splits": (1, 2, 4, 8),
    "methods": (1, 2, 3, 4),
}
SMALLEST = {quantity: sizes[0] for quantity, sizes in SIZES.items()}
RULES = ("none", "published", "prograd", "pcgrad")  # the methods
EPOCHS, SIDE, CPU = 10, 72, torch.device("cpu")


def settings() -> Adapt:
    """The demo's, shorter."""
    loaded = load(Path(__file__).parent.parent / "demo/params.yaml").adapt
    return loaded.model_copy(update={"epochs": EPOCHS, "views": 1, "cache_gb": 0.5, "tuned_blocks": 2})


def work(test: int, shots: int, splits: int, methods: int) -> Callable[[], Any]:
    """Adaptation and scoring of every split by every method."""
    images = np.random.default_rng(0).integers(0, 256, (shots + test, 3, SIDE, SIDE), dtype=np.uint8)
    quality = np.linspace(0, 1, len(images))
    backbone = Backbone(weights.clip_weights(SHAPE), SHAPE, "seeded")
    texts = Texts(
        tokenize(prompted_texts(["high quality", "low quality"], 4)),
        tokenize([TEACHER_SCENE.format(s) for s in settings().scenes]),
    )
    prompts, given = weights.prompts(SHAPE, 8), settings()
    sides = [Subset(images, quality, rows) for rows in np.split(np.arange(len(images)), [shots])]
    jobs = [SplitData(split, prompts, *sides) for split in range(splits)]

    def run() -> None:
        for rule in RULES[:methods]:
            method = Tune(kind="tune", label="", prompts="random", train=["context", "blocks"], rule=rule, strength=5.0)
            for job in jobs:
                finetune(backbone, texts, method, given, [job])

    return run


def main(arguments: list[str]) -> None:
    """Measure, print, write the csv and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)  # as in the demo: matrices this small gain nothing from a second one
    rows = []
    for quantity, sizes in SIZES.items():
        for size in sizes:
            recipe = work(*(SMALLEST | {quantity: size}).values())
            recipe()  # warm
            found = [timed(recipe, CPU) for _ in range(given.repeats)]
            seconds, memory = float(np.median([s for s, *_ in found])), max(m for _, m, _ in found) / 2**20
            rows.append({"quantity": quantity, "size": size, "seconds": seconds, "memory_mb": memory})
            print(f"{quantity} {size}: {seconds:.2f} s, {memory:.0f} MiB", flush=True)
    table = pd.DataFrame(rows).assign(repeats=given.repeats, machine=machine(CPU))
    given.out.mkdir(exist_ok=True, parents=True)
    table.to_csv(given.out / "growth.csv", index=False, float_format="%.6g", lineterminator="\n")
    draw.growth(table, given.out / "growth.png")
    print(f"written: {given.out / 'growth.csv'} and its figure")
