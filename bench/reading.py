"""`python -m bench.reading FOLDER`: what resizing hides from a score, and which copies are recognised.

1. Four photographs of scikit-image are enlarged, degraded at that size and scored by the shipped scorer:
   bench/results/resolution.csv has the mean change of the score for each size.
2. Every third photograph in FOLDER (here the 627 of LIVE Challenge, in `ChallengeDB_release/Images`) is changed, and compared
   by `grmp.data.duplicates`: bench/results/duplicates.csv has the share that is recognised, and how many look alike unchanged.
"""

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter, ImageOps
from skimage import data
from tqdm import tqdm

from grmp.data.decode import ENDINGS, load
from grmp.data.duplicates import groups
from grmp.files import write_text
from grmp.finetune import scorer

RESULTS = Path(__file__).parent / "results"
SIDE = 244  # of a prepared image
TIMES = (1, 2, 4, 8, 16)
Change = Callable[[Image.Image], Image.Image]


def jpeg(quality: int) -> Change:
    def change(image: Image.Image) -> Image.Image:
        out = io.BytesIO()
        image.save(out, "JPEG", quality=quality)
        return Image.open(out).convert("RGB")

    return change


def noise(image: Image.Image) -> Image.Image:
    grain = np.random.default_rng(0).normal(0, 20, (*image.size[::-1], 3))
    return Image.fromarray(np.clip(np.asarray(image) + grain, 0, 255).astype(np.uint8))


def cropped(share: float) -> Change:
    def change(image: Image.Image) -> Image.Image:
        x, y = (round(side * share) for side in image.size)
        return image.crop((x, y, image.width - x, image.height - y)).resize(image.size)

    return change


def boxed(image: Image.Image) -> Image.Image:
    marked, (width, height) = image.copy(), image.size
    marked.paste("white", (round(0.55 * width), round(0.85 * height), round(0.95 * width), round(0.95 * height)))
    return marked


DEGRADED: dict[str, Change] = {
    "JPEG, quality 95": jpeg(95),
    "JPEG, quality 10": jpeg(10),
    "blur, sigma 2": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "blur, sigma 8": lambda image: image.filter(ImageFilter.GaussianBlur(8)),
    "noise, sd 20": noise,
}
CHANGED: dict[str, Change] = {
    "JPEG, quality 30": jpeg(30),
    "half the size": lambda image: image.resize((image.width // 2, image.height // 2)),
    "blur, sigma 4": lambda image: image.filter(ImageFilter.GaussianBlur(4)),
    "noise, sd 20": noise,
    "30 % brighter": lambda image: image.point(lambda v: min(255, int(1.3 * v))),
    "2 % cut off each side": cropped(0.02),
    "5 % cut off each side": cropped(0.05),
    "mirrored": lambda image: image.transpose(Image.Transpose.FLIP_LEFT_RIGHT),
    "turned by 90 degrees": lambda image: image.transpose(Image.Transpose.ROTATE_90),
    "turned by 2 degrees": lambda image: image.rotate(2),
    "a white border of 5 %": lambda image: ImageOps.expand(image, round(0.05 * image.width), "white"),
    "a white box over 4 % of it": boxed,
}


def resolution() -> pd.DataFrame:
    """Mean change of the score of four photographs by degradations at several sizes."""
    model, rows = scorer.load("photo", "cpu"), []
    photographs = [
        Image.fromarray(getattr(data, name)()).convert("RGB") for name in ("astronaut", "cat", "coffee", "rocket")
    ]
    for times in tqdm(TIMES, desc="sizes", disable=None):
        side = times * SIDE
        for photograph in photographs:
            scale = side / min(photograph.size)
            size = (round(photograph.width * scale), round(photograph.height * scale))
            whole = photograph.resize(size, Image.Resampling.LANCZOS)
            right, *found = model.score([whole, *(change(whole) for change in DEGRADED.values())])
            rows += [(name, times, value - right) for name, value in zip(DEGRADED, found, strict=True)]
    table = pd.DataFrame(rows, columns=["degradation", "times", "change"])
    return table.groupby(["degradation", "times"], sort=False)["change"].mean().unstack().reset_index()


def duplicates(folder: Path) -> pd.DataFrame:
    """Share of changed photographs that are one group with the original; the last row counts unchanged pairs."""
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in ENDINGS)[::3]
    photographs = [load(path, displayed=True) for path in tqdm(paths, desc="read", disable=None)]

    def stack(images: list[Image.Image]) -> np.ndarray:
        return np.stack([np.asarray(image.resize((SIDE, SIDE))).transpose(2, 0, 1) for image in images])

    whole, rows = stack(photographs), []
    for name, change in CHANGED.items():
        changed = stack([change(image) for image in photographs])
        pairs = [groups(np.stack(pair)).tolist() == [0, 0] for pair in zip(whole, changed, strict=True)]
        rows.append((name, len(pairs), float(np.mean(pairs))))
    alone = groups(whole)
    rows.append(("unchanged photographs that look like another one", len(alone), 1 - len(set(alone)) / len(alone)))
    return pd.DataFrame(rows, columns=["change", "images", "share"])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, nargs="?", help="photographs for the second table")
    folder = parser.parse_args().folder
    for name, table in {"resolution": resolution(), "duplicates": duplicates(folder) if folder else None}.items():
        if table is not None:
            write_text(RESULTS / f"{name}.csv", table.to_csv(index=False, float_format="%.4f"))
            print(table.to_string(index=False))


if __name__ == "__main__":
    main()
