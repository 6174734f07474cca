"""The simulated databases: five databases whose images are distorted here and whose ratings are simulated.

Nobody rated these images. A simulated rating is a published full-reference measure of an image against its clean original -
SSIM (Wang, Bovik, Sheikh and Simoncelli 2004) as implemented in scikit-image - mapped to a scale from 1 to 5 and passed through
simulated raters. The databases run the whole pipeline where no database can be downloaded. They say nothing about people.

Sources are the photographs in scikit-image's wheel and rendered scenes. Each source has one role, so that no source of a
target database or of the backbone's held-out images has been trained on. Only the photographs that train the backbone
are used again, in the pre-training databases, which are training data as well.
"""

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cache, partial
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

SIZE = 122  # pixels; the models crop 112
RATERS = 20
RATER_SD = 0.6  # of one rating, before it is rounded to 1, 2, 3, 4 or 5

_PHOTOGRAPHS = {  # of skimage/data: the source's name, its file and what it shows
    "astronaut": ("astronaut.png", "person"),
    "brick": ("brick.png", "brick wall"),
    "camera": ("camera.png", "person"),
    "chelsea": ("chelsea.png", "cat"),
    "coffee": ("coffee.png", "cup of coffee"),
    "coins": ("coins.png", "row of coins"),
    "grass": ("grass.png", "lawn"),
    "gravel": ("gravel.png", "gravel path"),
    "handwriting": ("text.png", "page of text"),
    "hubble": ("hubble_deep_field.jpg", "starry sky"),
    "moon": ("moon.png", "moon"),
    "motorcycle": ("motorcycle_left.png", "motorcycle"),
    "page": ("page.png", "page of text"),
    "rocket": ("rocket.jpg", "rocket"),
}
_ROLES = {  # the photographs of each role; rendered scenes carry their role in their name
    "train": ("astronaut", "brick", "chelsea", "coins", "gravel", "hubble"),
    "validation": ("page",),
    "heldout": ("handwriting",),
    "pre1": ("astronaut", "brick", "chelsea"),
    "pre2": ("coins", "gravel", "hubble"),
    "syn1": ("coffee", "grass"),
    "syn2": ("moon", "motorcycle"),
    "wild": ("camera", "rocket"),
}
BACKBONE_ROLES = ("train", "validation", "heldout")


@dataclass(frozen=True)
class Content:
    """A clean image, (SIZE, SIZE, 3) uint8, the name of its source and of what it shows."""

    reference: str
    scene: str
    picture: np.ndarray


@dataclass(frozen=True)
class _Design:
    """What a database consists of; without kinds, distortions are mixed and every image has its own content."""

    role: str
    contents: int
    kinds: tuple[str, ...] = ()
    crops: int = 1  # of each photograph


_DESIGNS = {
    "sim_pre1": _Design("pre1", 8, KINDS),
    "sim_pre2": _Design("pre2", 8, KINDS),
    # LIVE's five types, with displaced patches instead of packet loss (fast fading)
    "sim_syn1": _Design("syn1", 30, ("gaussian_blur", "jpeg2000", "jpeg", "white_noise", "non_eccentricity_patch")),
    # CSIQ's six types, with multiplicative instead of pink noise
    "sim_syn2": _Design(
        "syn2", 26, ("gaussian_blur", "jpeg2000", "jpeg", "white_noise", "multiplicative_noise", "contrast_change")
    ),
    "sim_wild": _Design("wild", 780, crops=8),
}
NAMES: tuple[str, ...] = tuple(_DESIGNS)

_README = """{name}: a simulated database.

Distorted versions of scikit-image's photographs and of rendered scenes. The ratings in scores.csv are SIMULATED: mean and
standard deviation of {raters} simulated raters, each of whom rounds 5 - 4 sqrt(1 - SSIM) plus normal noise (sd {sd}) to
1, 2, 3, 4 or 5. Higher is better. No person rated any of these images.
"""


def render(name: str, folder: Path) -> None:
    """Write the simulated database ``name`` to ``folder``: images/*.png, scores.csv and README.txt, completely or not at all.

    scores.csv has one row per image: ``image, mos, mos_std, reference, distortion, level``; ``mos`` in [1, 5], higher is
    better; ``distortion`` and ``level`` are empty where distortions are mixed. The same name gives the same bytes.

    Raises
    ------
    UserError
        If there is no such database, or the folder cannot be written.
    """
    if name not in _DESIGNS:
        raise UserError(f"unknown simulated database '{name}'; choose one of: {', '.join(NAMES)}")
    design = _DESIGNS[name]
    at_once = cpus()
    shares = [range(i, design.contents, 4 * at_once) for i in range(4 * at_once)]
    with whole_folder(folder) as beside:
        (beside / "images").mkdir()
        rows = []
        total = design.contents * (len(design.kinds) * len(LEVELS) or 1)
        with tqdm(total=total, desc=f"render {name}", unit="image", disable=None) as bar:
            for _, state, made in work(partial(_make, design, beside / "images"), shares, [None] * at_once):
                if state == "failed":
                    raise UserError(f"{name} could not be rendered: {made}")
                rows += made
                bar.update(len(made))
        pd.DataFrame(rows).sort_values("image").to_csv(beside / "scores.csv", index=False)
        (beside / "README.txt").write_text(_README.format(name=name, raters=RATERS, sd=RATER_SD))


def contents(role: str, count: int) -> list[Content]:
    """``count`` clean images of a backbone role, cycling through the scenes; each photograph in a new crop every time.

    An image depends on role and position only: the first n are the same for every ``count``.

    Raises
    ------
    UserError
        If the role is not one of ``BACKBONE_ROLES``.
    """
    if role not in BACKBONE_ROLES:
        raise UserError(f"unknown role '{role}'; choose one of: {', '.join(BACKBONE_ROLES)}")
    sources = [*RENDERERS, *_ROLES[role]]
    made = []
    for i in range(count):
        turn, source = divmod(i, len(sources))
        name = sources[source]
        made.append(_photograph(name, turn) if name in _PHOTOGRAPHS else _scene(name, role, turn))
    return made


def scenes_of(role: str) -> list[str]:
    """What the contents of a role show, sorted: the scenes that a model trained on it has seen."""
    return sorted({*RENDERERS, *(_PHOTOGRAPHS[name][1] for name in _ROLES[role])})


def quality(picture: np.ndarray, clean: np.ndarray) -> float:
    """Simulated quality on the scale from 1 to 5: 5 - 4 sqrt(1 - SSIM), SSIM with Wang et al.'s Gaussian window, over RGB.

    sqrt(1 - SSIM) behaves like a distance (Brunet, Vrscay and Wang 2012) and uses the scale more evenly than SSIM.
    """
    ssim = structural_similarity(
        picture, clean, channel_axis=-1, data_range=255, gaussian_weights=True, sigma=1.5, use_sample_covariance=False
    )
    return float(5 - 4 * np.sqrt(np.clip(1 - ssim, 0, 1)))


def _make(design: _Design, images: Path, numbers: Iterable[int]) -> list[dict[str, object]]:
    """Write the images of these contents; their rows of scores.csv."""
    rows = []
    for number in numbers:
        for row, picture in _pictures(design, number):
            Image.fromarray(picture).save(images / str(row["image"]), compress_level=1)
            rows.append(row)
    return rows


def _pictures(design: _Design, number: int) -> Iterator[tuple[dict[str, object], np.ndarray]]:
    """Rows of scores.csv and the images of one content."""
    content, label = _labelled(design, number)
    if not design.kinds:
        name = f"{label}_mix.png"
        yield _row(name, content, picture := _mixed(content.picture, name), "", ""), picture
    for kind in design.kinds:
        for level in LEVELS:
            name = f"{label}_{KINDS.index(kind) + 1:02d}_{level}.png"
            picture = distort(content.picture, kind, level, seed=_seed(name))
            yield _row(name, content, picture, kind, level), picture


def _labelled(design: _Design, number: int) -> tuple[Content, str]:
    """A content of a database and its name in file names: crops of photographs first, then rendered scenes."""
    photographs = [(name, crop) for name in _ROLES[design.role] for crop in range(design.crops)]
    if number < len(photographs):
        name, crop = photographs[number]
        return _photograph(name, crop), name if design.crops == 1 else f"{name}-crop{crop}"
    place = number - len(photographs)
    kind = list(RENDERERS)[(place + _seed(design.role)) % len(RENDERERS)]
    content = _scene(kind, design.role, place)
    return content, content.reference


def _row(name: str, content: Content, picture: np.ndarray, kind: str, level: int | str) -> dict[str, object]:
    noise = RATER_SD * np.random.default_rng(_seed("raters", name)).standard_normal(RATERS)
    opinions = np.clip(np.round(quality(picture, content.picture) + noise), 1, 5)
    return {
        "image": name,
        "mos": round(float(opinions.mean()), 4),
        "mos_std": round(float(opinions.std(ddof=1)), 4),
        "reference": content.reference,
        "distortion": kind,
        "level": level,
    }


def _mixed(picture: np.ndarray, name: str) -> np.ndarray:
    """One to three distortions in sequence, mild ones more often, as in authentic images."""
    rng = np.random.default_rng(_seed("mix", name))
    for kind in rng.choice(KINDS, rng.choice([1, 2, 3], p=[0.5, 0.3, 0.2]), replace=False):
        level = int(rng.choice(LEVELS, p=[0.35, 0.25, 0.2, 0.12, 0.08]))
        picture = distort(picture, str(kind), level, seed=int(rng.integers(2**31)))
    return picture


def _scene(kind: str, role: str, index: int) -> Content:
    reference = f"{kind.replace(' ', '-')}-{role}-{index:04d}"
    return Content(reference, kind, render_scene(kind, SIZE, np.random.default_rng(_seed(reference))))


def _photograph(name: str, crop: int) -> Content:
    """A square crop of random place, scale and flip, reduced to SIZE; never enlarged."""
    rng = np.random.default_rng(_seed("crop", name, str(crop)))
    photograph = _read(name)
    height, width = photograph.shape[:2]
    side = int(rng.integers(SIZE, min(height, width, 3 * SIZE) + 1))
    y, x = int(rng.integers(0, height - side + 1)), int(rng.integers(0, width - side + 1))
    square = photograph[y : y + side, x : x + side]
    if rng.random() < 0.5:
        square = square[:, ::-1]
    small = cv2.resize(np.ascontiguousarray(square), (SIZE, SIZE), interpolation=cv2.INTER_AREA)
    return Content(name, _PHOTOGRAPHS[name][1], small)


@cache
def _read(name: str) -> np.ndarray:
    path = Path(skimage.__file__).parent / "data" / _PHOTOGRAPHS[name][0]
    try:
        return np.asarray(Image.open(path).convert("RGB"))
    except FileNotFoundError:
        raise UserError(f"{path} not found; reinstall scikit-image, whose wheel contains it") from None


def _seed(*words: str) -> int:
    """A seed from names, so that an image does not depend on what was drawn before it."""
    return zlib.crc32("/".join(words).encode())
