"""`python -m bench.files`: seconds and peak memory of `grmp score` against the number of files.

    python -m bench.files [--counts 1000 10000 100000 1000000]

The files are hard links to 100 generated JPEGs of 64 x 64 pixels and the model is a seeded ViT of 32 pixels: what grows is the
number of files. Rows go to standard output, as with `grmp score FOLDER > scores.csv`. Written to bench/results/files.csv.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from PIL import Image

from bench.measure import machine
from grmp.clip.model import tokenize
from grmp.finetune.scorer import QualityModel
from tests.golden.weights import clip_weights
from tests.worlds import SHAPE

RESULTS = Path(__file__).parent / "results"


def measure(folder: Path, model: Path) -> dict[str, float]:
    """Seconds by the clock and by the processor, and the peak of the resident memory, of scoring a folder."""
    command = [sys.executable, "-c", "from grmp.cli import main; main()", "score", str(folder), "--model", str(model)]
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"grmp score failed with exit code {child.returncode}")
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "cpu_seconds": usage.ru_utime + usage.ru_stime, "peak_mb": usage.ru_maxrss / 1024}


def main(arguments: list[str]) -> None:
    """Measure, print, write the csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", type=int, nargs="*", default=[1000, 10_000, 100_000])
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    given.out.mkdir(exist_ok=True, parents=True)
    scale = {"low": 0.0, "high": 1.0, "higher_better": True}
    card = {"size": 36, "aspect": "squash", "scale": scale, "method": "zero_shot"}
    rows = []
    for count in given.counts:
        with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryDirectory() as other:
            model = Path(other, "model.safetensors")
            tokens = tokenize(["a photo with high quality.", "a photo with low quality."])
            replace(QualityModel.of(clip_weights(SHAPE), SHAPE, tokens), card=card).save(model)
            for i in range(count):
                path = Path(folder, f"{i:07}.jpg")
                if i < 100:
                    noise = np.random.default_rng(i).integers(0, 256, (64, 64, 3), np.uint8)
                    Image.fromarray(noise).save(path)
                else:
                    os.link(Path(folder, f"{i % 100:07}.jpg"), path)
            rows.append({"files": count, **measure(Path(folder), model)})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows).assign(machine=machine(torch.device("cpu")))
    table.to_csv(given.out / "files.csv", index=False, float_format="%.6g", lineterminator="\n")


if __name__ == "__main__":
    main(sys.argv[1:])
