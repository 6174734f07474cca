"""The folder of docs/tutorial.md, and a simulated rater: `python docs/tutorial.py photos/`, later `... photos/ --rate`.

Crops of photographs that scikit-image ships, each blurred, with noise, compressed or clean. The rater knows the level of
each and errs a little: with photographs of your own, rate them yourself with `grmp rate`.
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image, ImageFilter
from skimage import data

NAMES = ("astronaut", "chelsea", "coffee", "rocket", "camera", "brick", "grass", "gravel", "moon", "coins")
KINDS = ("clean", "blur", "noise", "jpeg")


def degraded(image: Image.Image, kind: str, level: int, rng: np.random.Generator, path: Path) -> None:
    """Save ``image`` with a distortion of ``level`` 1 to 4."""
    if kind == "blur":
        image = image.filter(ImageFilter.GaussianBlur(0.8 * level))
    if kind == "noise":
        pixels = np.asarray(image, float)
        image = Image.fromarray(np.clip(pixels + rng.normal(0, 9 * level, pixels.shape), 0, 255).astype(np.uint8))
    image.save(path, quality=(95, 30, 18, 10, 5)[level] if kind == "jpeg" else 95)


def main() -> None:
    """Make the folder, or rate the images of its ratings.csv."""
    folder, rng = Path(sys.argv[1]), np.random.default_rng(0)
    truth = folder.parent / "levels.csv"
    if "--rate" in sys.argv:
        levels = pd.read_csv(truth, index_col="image")["level"]
        names = pd.read_csv(folder / "ratings.csv")["image"]
        votes = [
            (n, r, int(np.clip(round(5 - levels[n] + rng.normal(0, 0.5)), 1, 5))) for r in ("Ann", "Bob") for n in names
        ]
        pd.DataFrame(votes, columns=["image", "rater", "mos"]).to_csv(folder / "votes.csv", index=False)
        return
    folder.mkdir()
    rows = []
    for name in NAMES:
        whole = Image.fromarray(getattr(data, name)()).convert("RGB")
        for number in range(8):
            left, top = (int(rng.integers(0, side - 255)) for side in whole.size)
            kind = KINDS[number % len(KINDS)]
            level = 0 if kind == "clean" else int(rng.integers(1, 5))
            file = f"{name}-{number}.jpg"
            degraded(whole.crop((left, top, left + 256, top + 256)), kind, level, rng, folder / file)
            rows.append((file, level))
    pd.DataFrame(rows, columns=["image", "level"]).to_csv(truth, index=False)


if __name__ == "__main__":
    main()
