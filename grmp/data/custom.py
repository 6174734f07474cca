"""Rated pictures of one's own: a table beside its pictures, read into memory as a prepared database; and their folds."""

import math
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from grmp.data.dataset import COLUMNS, Dataset, source_ids
from grmp.data.prepare import candidates, try_picture
from grmp.data.splits import Splits
from grmp.errors import UserError
from grmp.pool import cpus

FEWEST = 10  # rated pictures; below that nothing can be said of a model
FOLD = 5  # sources of a fold, at least


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


def read(path: Path, size: int, aspect: str, bounds: tuple[float, float] | None, higher_better: bool) -> Dataset:
    """The pictures that the CSV file ``path`` rates.

    Its columns: ``image`` (a path seen from the table's folder, or its end), ``mos`` (the mean opinion, or the one opinion),
    and, where several pictures show the same source, ``reference``. Others are passed over.

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
    if bounds and not (math.isfinite(low) and math.isfinite(high) and low < high):
        raise UserError(
            f"--scale {low:g} {high:g}: give the lower end first; --lower-is-better says that low ratings are good"
        )
    if low == high:
        raise UserError(f"{path}: all ratings are {low:g}; there is nothing to learn from them")
    outside = table[~table["mos"].between(low, high)]
    if len(outside):
        first = outside.iloc[0]
        raise UserError(f"{path}: {first['image']} is rated {first['mos']:g}, outside the scale {low:g} to {high:g}")
    scale = Scale(low, high, higher_better)
    index = table.assign(quality=scale.quality(table["mos"].to_numpy()).round(9) + 0.0).reindex(columns=COLUMNS)
    info = {"size": size, "aspect": aspect, "scale": asdict(scale)}
    return Dataset(path.stem, index, _pictures(path, index["image"].tolist(), size, aspect), info)


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
            columns = ", ".join(map(str, table.columns))[:200]
            raise UserError(f"{path} has no column '{column}'; its columns are {columns}")
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


def _pictures(path: Path, names: list[str], size: int, aspect: str) -> np.ndarray:
    """(N, 3, size, size) uint8."""
    paths = locate(path, names)
    with ThreadPoolExecutor(cpus()) as pool:
        reading = pool.map(partial(try_picture, size=size, aspect=aspect, upright=True), paths)
        read = list(tqdm(reading, desc=f"read {path.name}", total=len(names), unit="picture", disable=None))
    broken = [f"{name} ({why})" for name, why in zip(names, read, strict=True) if isinstance(why, str)]
    if broken:
        raise UserError(
            f"{path}: {len(broken)} of {len(names)} pictures cannot be used: {_some(broken)}; mend or drop them"
        )
    return np.stack([picture for picture in read if not isinstance(picture, str)])


def locate(table: Path, names: list[str]) -> list[Path]:
    """The file of each name: seen from the table's folder, else the one below it whose path ends so, letter case aside.

    Raises
    ------
    UserError
        If a name fits no file or several, or two names fit the same file.
    """
    folder, found, missing = table.parent, [], []
    for name, fits in zip(names, candidates(names, folder), strict=True):
        if (folder / name).is_file():
            found.append(folder / name)
        elif len(fits) == 1:
            found += fits
        elif fits:
            which = _some(sorted(str(p.relative_to(folder)) for p in fits))
            raise UserError(f"{table}: {name} may be {which}; write more of its path")
        else:
            missing.append(name)
    if missing:
        raise UserError(f"{table}: {len(missing)} of {len(names)} pictures are not below {folder}: {_some(missing)}")
    known: dict[Path, str] = {}
    for name, path in zip(names, found, strict=True):
        if (other := known.setdefault(path.resolve(), name)) != name:
            raise UserError(f"{table}: {other} and {name} are the same file; give one mean rating a picture")
    return found


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (", ..." if len(names) > 5 else "")


def folds(index: pd.DataFrame, count: int, seed: int) -> Splits:
    """Splits whose test sides are ``count`` parts of alike size and alike quality; a source's pictures are in one part.

    Alike in quality because the scores of all parts are ranked together: the model that is to score a part of good pictures
    has learned from what is left, the worse ones, and would score all of the part too low.

    Raises
    ------
    UserError
        If a part would have fewer than 5 sources.
    """
    rng, of = np.random.default_rng(seed), source_ids(index)
    sizes = np.bincount(of)
    if len(sizes) < FOLD * count:
        most = len(sizes) // FOLD
        raise UserError(
            f"{len(sizes)} sources cannot be parted into {count} folds of at least {FOLD}; choose --folds "
            + (f"{most}, or 0 for none" if most > 1 else "0 for none")
        )
    quality = np.bincount(of, index["quality"]) / sizes
    order, part = np.lexsort((quality, -sizes)), np.zeros(len(sizes), int)
    for start in range(0, len(order), count):  # neighbours in size and quality are dealt to different parts
        some = order[start : start + count]
        part[some] = rng.permutation(count)[: len(some)]
    ranks = np.full((count, len(of)), -1)
    for fold in range(count):
        train = np.flatnonzero(part[of] != fold)
        ranks[fold, rng.permutation(train)] = np.arange(len(train))
    return Splits(ranks)
