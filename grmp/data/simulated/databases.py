"""The simulated databases: four databases whose images are distorted here and whose ratings are simulated.

Nobody rated these images. A simulated rating is a published full-reference measure of an image against its clean original -
SSIM (Wang, Bovik, Sheikh and Simoncelli 2004) as implemented in scikit-image - mapped to a scale from 1 to 5 and passed through
simulated raters. The databases run the whole pipeline where no database can be downloaded. They say nothing about people.

The two databases for pre-training hold distortions of scikit-image's photographs alone. The two targets need more sources than
scikit-image has, so that most of theirs are rendered scenes. Each source belongs to one database.
"""

import itertools
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
import skimage
from PIL import Image
from skimage.metrics import structural_similarity
from tqdm import tqdm

from grmp.data.simulated.distortions import KINDS, LEVELS, distort
from grmp.data.simulated.scenes import RENDERERS, render_scene
from grmp.device import cpus
from grmp.errors import UserError
from grmp.files import whole_folder
from grmp.pool import work

SIZE = 224  # pixels, what the small CLIP reads
RATERS = 20
RATER_SD = 0.6  # of one rating, before it is rounded to 1, 2, 3, 4 or 5


@dataclass(frozen=True)
class _Design:
    """What a database consists of; without kinds, distortions are mixed and every image has its own content."""

    contents: int
    photographs: tuple[str, ...]  # files of skimage/data; rendered scenes make up the rest
    kinds: tuple[str, ...] = ()
    crops: int = 1  # of each photograph


# LIVE's five types, with displaced patches instead of packet loss (fast fading)
LIVE_KINDS = ("gaussian_blur", "jpeg2000", "jpeg", "white_noise", "non_eccentricity_patch")
_DESIGNS = {
    "sim_pre1": _Design(4, ("astronaut.png", "brick.png", "chelsea.png", "ihc.png"), KINDS),
    "sim_pre2": _Design(4, ("coins.png", "gravel.png", "hubble_deep_field.jpg", "retina.jpg"), KINDS),
    "sim_syn1": _Design(24, ("coffee.png", "grass.png"), LIVE_KINDS),
    "sim_wild": _Design(500, ("camera.png", "moon.png", "motorcycle_left.png", "rocket.jpg"), crops=4),
}

_README = """{name}: a simulated database.

Distorted versions of scikit-image's photographs and, in the targets, of rendered scenes. The ratings in scores.csv are
SIMULATED: mean and standard deviation of {raters} simulated raters, each of whom rounds 5 - 4 sqrt(1 - SSIM) plus
normal noise (sd {sd}) to 1, 2, 3, 4 or 5. Higher is better. No person rated any of these images.
"""


def render(name: str, folder: Path) -> None:
    """Write the simulated database ``name`` to ``folder``: images/*.png, scores.csv and README.txt, completely or not at all.

    scores.csv has one row per image: ``image, mos, mos_std, reference, distortion, level``; ``mos`` in [1, 5], higher is
    better; ``distortion`` and ``level`` are empty where distortions are mixed. The same name gives the same bytes. Raises
    UserError if the folder cannot be written.
    """
    design = _DESIGNS[name]
    at_once = cpus()
    shares = [range(i, design.contents, 4 * at_once) for i in range(4 * at_once)]
    with whole_folder(folder) as beside:
        (beside / "images").mkdir()
        rows = []
        total = design.contents * (len(design.kinds) * len(LEVELS) or 1)
        with tqdm(total=total, desc=f"render {name}", unit="image", disable=None) as bar:
            for _, state, made in work(partial(_make, name, beside / "images"), shares, [None] * at_once):
                if state == "failed":
                    raise UserError(f"{name} could not be rendered: {made}")
                rows += made
                bar.update(len(made))
        pd.DataFrame(rows).sort_values("image").to_csv(beside / "scores.csv", index=False)
        (beside / "README.txt").write_text(_README.format(name=name, raters=RATERS, sd=RATER_SD))


def quality(picture: np.ndarray, clean: np.ndarray) -> float:
    """Simulated quality on the scale from 1 to 5: 5 - 4 sqrt(1 - SSIM), SSIM with Wang et al.'s Gaussian window, over RGB.

    sqrt(1 - SSIM) behaves like a distance (Brunet, Vrscay and Wang 2012) and uses the scale more evenly than SSIM.
    """
    pair = picture.astype(np.float32), clean.astype(np.float32)  # of bytes it would compute in float64
    ssim = structural_similarity(
        *pair, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(5 - 4 * np.sqrt(np.clip(1 - ssim, 0, 1)))


def _make(name: str, images: Path, numbers: Iterable[int]) -> list[dict[str, object]]:
    """Write the images of these contents; their rows of scores.csv."""
    rows: list[dict[str, object]] = []
    for number in numbers:
        source, label, clean = _content(name, number)
        for kind, level in itertools.product(_DESIGNS[name].kinds, LEVELS) if _DESIGNS[name].kinds else [("", 0)]:
            file = f"{label}_{KINDS.index(kind) + 1:02d}_{level}.png" if kind else f"{label}_mix.png"
            image = distort(clean, kind, level, seed=_seed(file)) if kind else _mixed(clean, file)
            Image.fromarray(image).save(images / file, compress_level=1)
            row = {"image": file, **_rated(image, clean, file), "reference": source}
            rows.append(row | {"distortion": kind, "level": level or ""})
    return rows


def _content(name: str, number: int) -> tuple[str, str, np.ndarray]:
    """Source, name in file names and clean image (SIZE, SIZE, 3) of a content: crops of photographs, then rendered scenes."""
    crops = _DESIGNS[name].crops
    photographs = [(file, crop) for file in _DESIGNS[name].photographs for crop in range(crops)]
    if number < len(photographs):
        file, crop = photographs[number]
        source = Path(file).stem
        return source, source if crops == 1 else f"{source}-crop{crop}", _photograph(file, crop)
    place = number - len(photographs)
    kind = list(RENDERERS)[place % len(RENDERERS)]
    source = f"{kind.replace(' ', '-')}-{name.removeprefix('sim_')}-{place:04d}"
    return source, source, render_scene(kind, SIZE, np.random.default_rng(_seed(source)))


def _rated(picture: np.ndarray, clean: np.ndarray, name: str) -> dict[str, float]:
    """Mean and standard deviation of the simulated raters."""
    noise = RATER_SD * np.random.default_rng(_seed("raters", name)).standard_normal(RATERS)
    ratings = np.clip(np.round(quality(picture, clean) + noise), 1, 5)
    return {"mos": round(float(ratings.mean()), 4), "mos_std": round(float(ratings.std(ddof=1)), 4)}


def _mixed(picture: np.ndarray, name: str) -> np.ndarray:
    """One to three distortions in sequence, mild ones more often, as in authentic images."""
    rng = np.random.default_rng(_seed("mix", name))
    for kind in rng.choice(KINDS, rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]), replace=False):
        level = int(rng.choice(LEVELS, p=[0.35, 0.25, 0.2, 0.12, 0.08]))
        picture = distort(picture, str(kind), level, seed=int(rng.integers(2**31)))
    return picture


def _photograph(file: str, crop: int) -> np.ndarray:
    """A square crop of random place, scale and flip, reduced to SIZE; never enlarged."""
    rng = np.random.default_rng(_seed("crop", file, str(crop)))
    photograph = np.asarray(Image.open(Path(skimage.__file__).parent / "data" / file).convert("RGB"))
    height, width = photograph.shape[:2]
    side = int(rng.integers(SIZE, min(height, width, 3 * SIZE) + 1))
    y, x = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    square = photograph[y : y + side, x : x + side]
    if rng.random() < 0.5:
        square = square[:, ::-1]
    return cv2.resize(np.ascontiguousarray(square), (SIZE, SIZE), interpolation=cv2.INTER_AREA)


def _seed(*words: str) -> int:
    """A seed from names, so that an image does not depend on what was drawn before it."""
    return zlib.crc32("/".join(words).encode())
