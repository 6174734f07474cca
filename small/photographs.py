"""BIQ2021's photographs and ratings, and distortions made on them at native resolution.

BIQ2021 (Ahmed et al., J. Electronic Imaging 31(5) 053010, 2022) has 12,000 photographs, nearly all of 512 x 512 pixels,
with an official split of 10,000 for training and 2,000 for testing.
"""

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import pandas as pd
from PIL import Image

SIDE = 244  # photographs are resized to SIDE x SIDE, as `grmp prepare` does
SIZE = 224  # what the network sees: a crop
HELD_OUT = 1000  # of the 10,000 training photographs, for every choice made during development
_FILES = {"train": "Train (Images and MOS).csv", "test": "Test (Images and MOS).csv"}
_PART = {"train": 10_000, "test": 2_000}


@dataclass(frozen=True)
class Photographs:
    """N photographs: paths, and MOS (N,) from 0 to 1, higher better."""

    paths: list[Path]
    mos: np.ndarray


def biq2021(folder: Path, part: str) -> Photographs:
    """One part of the official split, in the order of its table.

    Raises
    ------
    SystemExit
        If a file is missing; the message names it.
    """
    table_path = folder / _FILES[part]
    if not table_path.is_file():
        raise SystemExit(f"error: {table_path} not found; give the folder of BIQ2021 with FROM=")
    table = pd.read_csv(table_path).iloc[:, :2]
    table.columns = ["image", "mos"]
    if len(table) != _PART[part]:
        raise SystemExit(f"error: {table_path} has {len(table)} rows, expected {_PART[part]}; download it again")
    # the tables and the files disagree about the case of one extension
    by_name = {path.name.lower(): path for path in sorted((folder / "Images").iterdir())}
    missing = [name for name in table["image"] if name.lower() not in by_name]
    if missing:
        raise SystemExit(
            f"error: {len(missing)} photographs are missing, the first is {folder / 'Images' / missing[0]}"
        )
    return Photographs([by_name[name.lower()] for name in table["image"]], table["mos"].to_numpy(float))


def held_out(count: int) -> np.ndarray:
    """(count,) bool: the training photographs that no model is trained on during development."""
    mask = np.zeros(count, bool)
    mask[np.random.default_rng(0).permutation(count)[: min(HELD_OUT, count // 5)]] = True
    return mask


def read(path: Path) -> np.ndarray:
    """(H, W, 3) uint8 at native resolution."""
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def shrink(image: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8 -> (SIDE, SIDE, 3) uint8 by Pillow's bicubic filter, aspect ratio not kept."""
    return np.asarray(Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BICUBIC))


# ------------------------------------------------------------------------------------------------------- distortions

LEVELS = {  # five levels of each, from slight to severe
    "defocus": (1.0, 1.8, 2.8, 4.2, 6.0),  # standard deviation of the blur in pixels
    "motion": (5, 9, 14, 21, 31),  # length in pixels
    "noise": (0.04, 0.07, 0.10, 0.15, 0.22),  # standard deviation; drawn at half the resolution
    "jpeg": (40, 25, 16, 10, 6),  # quality
    "dark": (1.4, 1.8, 2.4, 3.2, 4.2),  # exponent
    "bright": (1.3, 1.6, 1.9, 2.3, 2.8),  # gain, clipped
    "low resolution": (0.5, 0.35, 0.25, 0.18, 0.14),  # scale
    "low contrast": (0.75, 0.6, 0.48, 0.36, 0.27),  # factor
}
KINDS = tuple(LEVELS)


def distort(image: np.ndarray, kind: str, level: int, rng: np.random.Generator) -> np.ndarray:
    """(H, W, 3) uint8 -> the same with a distortion as cameras make them; ``level`` 1 to 5.

    The values of ``LEVELS`` are for images of 512 pixels; distances scale with the image's longer side.
    """
    height, width = image.shape[:2]
    value, unit = LEVELS[kind][level - 1], max(height, width) / 512
    if kind == "defocus":
        if rng.random() < 0.5:
            return cv2.GaussianBlur(image, (0, 0), value * unit)
        radius = max(1, round(2 * value * unit))  # a disk of the same second moment
        disk = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1,) * 2).astype(np.float32)
        return cv2.filter2D(image, -1, disk / disk.sum(), borderType=cv2.BORDER_REFLECT)
    if kind == "motion":
        length = max(3, round(value * unit)) | 1
        kernel = np.zeros((length, length), np.float32)
        angle, middle = rng.uniform(0, np.pi), (length - 1) / 2
        across = np.array([np.cos(angle), np.sin(angle)]) * middle
        start, end = (tuple(int(v) for v in np.round(middle + sign * across)) for sign in (-1, 1))
        cv2.line(kernel, start, end, 1.0)
        return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)
    if kind == "noise":
        channels = 3 if rng.random() < 0.7 else 1
        half = rng.standard_normal(((height + 1) // 2, (width + 1) // 2, channels), np.float32) * value * 255
        noise = cv2.resize(half, (width, height), interpolation=cv2.INTER_LINEAR).reshape(height, width, channels)
        return _bytes(image + noise)
    if kind == "jpeg":
        _, data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(value)])
        return cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1]
    if kind == "dark":
        return cv2.LUT(image, _bytes(255 * np.linspace(0, 1, 256) ** value))
    if kind == "bright":
        return cv2.LUT(image, _bytes(np.arange(256) * value))
    if kind == "low resolution":
        size = max(1, round(width * value)), max(1, round(height * value))
        small = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
        return cv2.resize(small, (width, height), interpolation=(cv2.INTER_LINEAR, cv2.INTER_CUBIC)[rng.integers(2)])
    if kind == "low contrast":
        mean = image.mean(axis=(0, 1))
        return _bytes(mean + value * (image - mean))
    raise ValueError(kind)


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class Versions:
    """The versions of one photograph: what was done to each, as {kind: level}; the first is the photograph itself."""

    done: tuple[dict[str, int], ...]

    def levels(self) -> np.ndarray:
        """(V, 8) level of each kind, 0 for none."""
        return np.array([[one.get(kind, 0) for kind in KINDS] for one in self.done])


VERSIONS = 7


def draw_versions(rng: np.random.Generator) -> Versions:
    """Clean; two levels of one kind; two of another; both at the lower level; one of a third kind."""
    a, b, c = (str(kind) for kind in rng.choice(KINDS, 3, replace=False))
    a1, a2 = sorted(int(v) for v in rng.choice(5, 2, replace=False) + 1)
    b1, b2 = sorted(int(v) for v in rng.choice(5, 2, replace=False) + 1)
    return Versions(({}, {a: a1}, {a: a2}, {b: b1}, {b: b2}, {a: a1, b: b1}, {c: int(rng.integers(1, 6))}))
