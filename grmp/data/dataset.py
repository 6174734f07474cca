"""A prepared database: one table and one memory-mapped array."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from grmp.errors import reading
from grmp.files import read_json

COLUMNS = ["image", "mos", "quality", "mos_std", "reference", "distortion", "level"]
TYPES = dict.fromkeys(("image", "reference", "distortion"), str) | dict.fromkeys(("mos", "quality", "mos_std"), float)


@dataclass(frozen=True)
class Dataset:
    """Row i of ``index`` describes ``images[i]``."""

    name: str
    index: pd.DataFrame  # COLUMNS, sorted by image; quality in [0, 1], higher is better
    images: np.ndarray  # (N, 3, S, S) uint8, memory-mapped
    info: dict[str, Any]


def source_ids(index: pd.DataFrame) -> np.ndarray:
    """(N,) integers: images with the same value show the same source, their ``reference`` or the image itself."""
    return pd.factorize(index["reference"].astype(object).fillna(index["image"]), sort=True)[0]


def array(view: str) -> str:
    """The file of the images that are resized in one way (``decode.resized``)."""
    return "images.npy" if view == "pillow" else f"images_{view}.npy"


def prepared(root: Path, name: str) -> Dataset | None:
    """A database of a pipeline folder, its images antialiased if they are stored so; None where it is not prepared.

    Raises UserError if it is corrupt.
    """
    folder = root / "data/prepared" / name
    if not (folder / "info.json").is_file():  # it is written last
        return None
    return load(folder)


def load(folder: Path, view: str = "") -> Dataset:
    """The prepared database in ``folder`` (``data/prepared/<name>``), its images resized in one way [default: antialiased].

    Raises UserError if it is not there, or its files do not belong together.
    """
    with reading(folder, f"run: grmp data fetch {folder.name} && grmp data prepare {folder.name}"):
        info = read_json(folder / "info.json")
        view = view or ("pillow" if "pillow" in info["views"] else min(info["views"]))
        index = pd.read_csv(folder / "index.csv", dtype=TYPES, keep_default_na=False, na_values="")
        images = np.load(folder / array(view), mmap_mode="r", allow_pickle=False)
        if not index["quality"].between(0, 1).all():
            raise ValueError("index.csv: quality outside [0, 1]")
        if list(index.columns) != COLUMNS or images.dtype != np.uint8 or images.shape[:2] != (len(index), 3):
            raise ValueError("table and images do not belong together")
    return Dataset(folder.name, index, images, info)
