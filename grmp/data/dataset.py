"""A prepared database: one table and one memory-mapped array. After this nobody knows a database's quirks."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from grmp.errors import UserError
from grmp.files import read_json

COLUMNS = ["image", "mos", "quality", "mos_std", "reference", "distortion", "level"]
NUMBERS = ("mos", "quality", "mos_std")
TEXT = {"image": str, "reference": str, "distortion": str}


@dataclass(frozen=True)
class Dataset:
    """Row i of ``index`` is picture i of ``images``."""

    name: str
    index: pd.DataFrame  # COLUMNS, sorted by image
    images: np.ndarray  # (N, 3, S, S) uint8, memory-mapped
    info: dict[str, Any]


def source_ids(index: pd.DataFrame) -> np.ndarray:
    """(N,) integers: images with the same value show the same source, their ``reference`` or the image itself."""
    return pd.factorize(index["reference"].astype(object).fillna(index["image"]), sort=True)[0]


def load(folder: Path) -> Dataset:
    """The prepared database in ``folder`` (``data/prepared/<name>``).

    Raises
    ------
    UserError
        If it is not there, or its files do not belong together.
    """
    name, stage = folder.name, f"dvc repro prepare@{folder.name}"
    try:
        info = read_json(folder / "info.json")
        index = pd.read_csv(folder / "index.csv", dtype=TEXT | dict.fromkeys(NUMBERS, np.float64))
        images = np.load(folder / "images.npy", mmap_mode="r", allow_pickle=False)
        low, high = (float(bound) for bound in info["range"])
        if not (low < high and isinstance(info["kind"], str) and isinstance(info["sha256"], dict)):
            raise ValueError("info.json is no card of a database")
        if not index["quality"].between(0, 1).all():
            raise ValueError("index.csv: quality is not within 0 and 1 everywhere")
    except FileNotFoundError as error:
        raise UserError(f"{error.filename} not found; make it with: {stage}") from None
    except Exception as error:  # numpy's reader of a damaged head comes to any of them
        raise UserError(
            f"{folder} is damaged ({' '.join(str(error).split())[:200]}); make it again with: {stage}"
        ) from None
    if list(index.columns) != COLUMNS or images.dtype != np.uint8 or images.shape[:2] != (len(index), 3):
        raise UserError(f"{folder}: table and pictures do not belong together; make them again with: {stage}")
    return Dataset(name, index, images, info)
