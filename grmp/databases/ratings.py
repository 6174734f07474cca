"""Rated pictures of one's own: a table beside its pictures, read into memory as a prepared database."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from grmp.databases.images import locate, try_picture
from grmp.databases.prepared import COLUMNS, Prepared
from grmp.databases.splits import Splits
from grmp.errors import UserError
from grmp.workers import cpus

FEWEST = 10  # rated pictures; below that nothing can be said of a model


@dataclass(frozen=True)
class Scale:
    """What ratings mean: 0 quality at the worse end, 1 at the better one."""

    low: float
    high: float
    higher_better: bool

    def quality(self, mos: np.ndarray) -> np.ndarray:
        """Ratings -> [0, 1], higher is better."""
        share = (mos - self.low) / (self.high - self.low)
        return share if self.higher_better else 1 - share

    def mos(self, quality: np.ndarray) -> np.ndarray:
        """The way back."""
        share = quality if self.higher_better else 1 - quality
        return self.low + share * (self.high - self.low)


def read(path: Path, size: int, aspect: str, bounds: tuple[float, float] | None, higher_better: bool) -> Prepared:
    """The pictures that the CSV file ``path`` rates, found below its folder by the ends of their paths.

    Its columns: ``image``, ``mos`` (the mean opinion, or the one opinion), and, where several pictures show the same source,
    ``reference``. Others are passed over.

    Parameters
    ----------
    bounds
        Ends of the rating scale; None takes the lowest and the highest rating that occur.

    Raises
    ------
    UserError
        If the table or a picture cannot be used; the line names which.
    """
    table = _table(path)
    low, high = bounds or (float(table["mos"].min()), float(table["mos"].max()))
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(
            f"{path}: the scale goes from {low:g} to {high:g}; ratings must differ: give its ends with --scale"
        )
    outside = table[~table["mos"].between(low, high)]
    if len(outside):
        first = outside.iloc[0]
        raise UserError(f"{path}: {first['image']} is rated {first['mos']:g}, outside the scale {low:g} to {high:g}")
    scale = Scale(low, high, higher_better)
    index = table.assign(quality=scale.quality(table["mos"].to_numpy()).round(9) + 0.0).reindex(columns=COLUMNS)
    info = {"kind": "own", "range": [low, high], "size": size, "aspect": aspect, "scale": asdict(scale)}
    return Prepared(path.stem, index, _pictures(path, index["image"], size, aspect), info)


def _table(path: Path) -> pd.DataFrame:
    """``image, mos`` and perhaps ``reference``, checked; sorted by image."""
    try:
        table = pd.read_csv(path, dtype={"image": str, "reference": str})
    except FileNotFoundError:
        raise UserError(f"{path} not found; give a CSV file with the columns image and mos") from None
    except (OSError, ValueError) as error:
        raise UserError(f"{path} could not be read as CSV: {' '.join(str(error).split())[:200]}") from None
    for column in ("image", "mos"):
        if column not in table:
            raise UserError(f"{path} has no column '{column}'; its columns are {', '.join(map(str, table.columns))}")
    table["mos"] = pd.to_numeric(table["mos"], errors="coerce")
    for trouble, rows in (
        ("has no name of a picture", table["image"].isna()),
        ("has no rating that is a number", ~np.isfinite(table["mos"])),
        ("rates a picture that was rated above; give one mean rating a picture", table["image"].duplicated()),
    ):
        if rows.any():
            raise UserError(f"{path}, line {int(np.argmax(rows)) + 2}: {trouble}")
    if len(table) < FEWEST:
        raise UserError(f"{path} rates {len(table)} pictures; at least {FEWEST} are needed, and 50 are advised")
    return table.sort_values("image", ignore_index=True)


def _pictures(path: Path, names: pd.Series, size: int, aspect: str) -> np.ndarray:
    """(N, 3, size, size) uint8."""
    paths = locate(names, path.parent, "")
    missing = [name for name, found in zip(names, paths, strict=True) if found is None]
    if missing:
        raise UserError(
            f"{path}: {len(missing)} of {len(names)} pictures are not below {path.parent}: {_some(missing)}; put them there"
        )
    with ThreadPoolExecutor(cpus()) as pool:
        reading = pool.map(partial(try_picture, size=size, aspect=aspect, upright=True), paths)
        read = list(tqdm(reading, desc=f"read {path.name}", total=len(names), unit="picture", disable=None))
    broken = [f"{name} ({why})" for name, why in zip(names, read, strict=True) if isinstance(why, str)]
    if broken:
        raise UserError(
            f"{path}: {len(broken)} of {len(names)} pictures cannot be used: {_some(broken)}; mend or drop them"
        )
    return np.stack([picture for picture in read if not isinstance(picture, str)])


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def units(index: pd.DataFrame) -> np.ndarray:
    """Which source each picture shows (N,): its ``reference``, or itself."""
    return pd.factorize(index["reference"].fillna(index["image"]), sort=True)[0]


def folds(index: pd.DataFrame, count: int, seed: int) -> Splits:
    """Splits whose test sides are ``count`` parts of about equal size; pictures of one source are in the same part."""
    rng, of = np.random.default_rng(seed), units(index)
    sizes = np.bincount(of)
    if len(sizes) < count:
        raise UserError(f"{len(sizes)} sources cannot be parted into {count} folds; choose fewer with --folds")
    part, filled = np.zeros(len(sizes), int), np.zeros(count, int)
    for unit in sorted(rng.permutation(len(sizes)), key=lambda u: -sizes[u]):  # the largest first: sizes stay even
        part[unit] = filled.argmin()
        filled[part[unit]] += sizes[unit]
    ranks = np.full((count, len(of)), -1)
    for fold in range(count):
        train = np.flatnonzero(part[of] != fold)
        ranks[fold, rng.permutation(train)] = np.arange(len(train))
    return Splits(ranks)
