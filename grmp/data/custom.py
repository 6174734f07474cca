"""A user's own rated images: a table next to its images, read into memory as a Dataset, and its cross-validation folds."""

import os
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from grmp.data import duplicates, ratings, tables
from grmp.data.dataset import COLUMNS, Dataset, source_ids
from grmp.data.decode import read_images, remarks
from grmp.data.labels import candidates
from grmp.data.scale import Scale
from grmp.data.splits import Splits, ranked
from grmp.errors import UserError, some
from grmp.metrics import constant

FEWEST = 10  # rated images
FOLD = 5  # sources per fold, at least


def read(
    path: Path,
    size: int,
    aspect: str,
    bounds: tuple[float, float] | None,
    higher_better: bool,
    merge: bool = True,
    patch: int = 16,
) -> Dataset:
    """The images that the CSV file ``path`` rates.

    Its columns are ``image`` (a path relative to the table's folder, or the end of a path below it), ``mos`` (mean or
    single rating) and those of :func:`grmp.data.ratings.read`. Other columns are ignored. ``bounds`` are the ends of the
    rating scale [default: the lowest and the highest rating]; ``merge`` counts images that look alike as one source; images
    smaller than the network's ``patch`` pixels get a remark. Raises UserError if the table or an image cannot be used; the
    line names which.
    """
    table = _table(path)
    if table.attrs.get("comparisons"):
        if bounds or not higher_better:
            given = "--scale and --lower-is-better, or what the model to continue says of them, are not used"
            print(f"{path}: comparisons have no rating scale; {given}")
        bounds, higher_better = None, True
    low, high = bounds or (float(table["mos"].min()), float(table["mos"].max()))
    if bounds and not -np.inf < low < high < np.inf:
        raise UserError(f"--scale {low:g} {high:g}: give the lower end first; --lower-is-better turns the scale around")
    if constant(table["mos"].to_numpy()):
        raise UserError(f"{path}: all ratings are {table['mos'][0]:g}; there is nothing to learn from them")
    outside = table[~table["mos"].between(low, high)]
    if len(outside):
        first = outside.iloc[0]
        remedy = "give the ends of the whole scale with --scale LOW HIGH"
        rated = f"{first['image']} is rated {first['mos']:g}, outside the scale {low:g} to {high:g}"
        raise UserError(f"{path}: {rated}; {remedy}")
    if bounds is None:
        _codes(path, np.unique(table["mos"]))
    scale = Scale(low, high, higher_better)
    index = table.assign(quality=scale.quality(table["mos"].to_numpy()).round(9) + 0.0).reindex(columns=COLUMNS)
    if (weight := ratings.weights(table)) is not None:
        index["weight"] = weight
        print(f"{path}: ratings are weighted by the spread of their raters, {weight.min():.2f} to {weight.max():.2f}")
    images = _images(path, index["image"].tolist(), size, aspect, patch)
    named = source_ids(index)
    joined = duplicates.groups(images, named) if merge else named
    if (sources := joined.max() + 1) < (before := named.max() + 1):
        first, names = np.unique(joined, return_index=True)[1][joined], index["image"].to_numpy()
        index["reference"] = names[first]
        alike = [f"{names[i]} and {names[j]}" for i, j in enumerate(first) if named[i] != named[j]]
        print(f"{path}: {before} sources are counted as {sources}, because images look alike: {some(alike)}; ", end="")
        print("--keep-duplicates keeps them apart")
    info = {"size": size, "aspect": aspect, "scale": asdict(scale), "sources": int(sources)}
    return Dataset(path.stem, index, images, info | {"merged": int(before - sources)})


def _table(path: Path) -> pd.DataFrame:
    """``image, mos`` and perhaps ``reference``, checked; sorted by image."""
    found = ratings.read(path)
    table = found[[name for name in ("image", "reference", "mos", "mos_std", "raters") if name in found]].copy()
    remedy = "give one mean rating per image, or call the column of raters 'rater'"
    tables.refuse(path, table["image"].duplicated(), f"rates an image a second time; {remedy}")
    if "reference" in table:
        written = table["reference"].where(table["reference"] != "", table["image"])
        table["reference"] = written.map(lambda name: "".join(tables.plain(name).split()))
        if (count := table["reference"].nunique()) < written.nunique():
            same = "without letter case, spaces and Unicode form"
            print(f"{path}: {written.nunique()} names of sources are {count} {same}")
    if len(table) < FEWEST:
        raise UserError(f"{path} rates {len(table)} images; at least {FEWEST} are required, 50 are recommended")
    return table.sort_values("image", ignore_index=True)


def _codes(path: Path, rated: np.ndarray) -> None:
    """Ask about a lowest or highest of the distinct ratings, in order, that is far from all others, such as 99 or -1."""
    for values in (rated, rated[::-1]) if len(rated) > 2 else ():
        steps, (low, high) = np.abs(np.diff(values)), sorted((values[0], values[-2]))
        if steps[-1] > steps[:-1].max() and 2 * steps[-1] >= high - low:
            print(
                f"{path}: is {values[-1]:g} a rating, or a code for a missing one? All others are {low:g} to {high:g}"
            )


def _images(path: Path, names: list[str], size: int, aspect: str, patch: int) -> np.ndarray:
    """(N, 3, size, size) uint8."""
    paths = locate(path, names)
    images, unread = read_images(paths, size, aspect, f"read {path.name}")
    if unread:
        broken = some([f"{name} ({unread[p]})" for name, p in zip(names, paths, strict=True) if p in unread])
        raise UserError(
            f"{path}: {len(unread)} of {len(names)} images cannot be used: {broken}; replace or remove them"
        )
    for line in remarks(paths, size, aspect, patch):
        print(f"{path}: {line}")
    return np.stack(list(images.values()))


def locate(table: Path, names: list[str]) -> list[Path]:
    """The file of each name: relative to the table's folder, else the one below it whose path ends so, ignoring letter case.

    Raises UserError if a name matches no file or several, or two names match the same file.
    """
    folder, missing = table.parent, []
    found: dict[Path, str] = {}
    for name, matches in zip(names, candidates(names, folder), strict=True):
        matches = [folder / name] if os.path.isfile(folder / name) else matches  # noqa: PTH113 - a name may be too long
        if len(matches) > 1:
            which = some(sorted(str(p.relative_to(folder)) for p in matches))
            raise UserError(f"{table}: {name} may be {which}; write more of its path")
        missing += [] if matches else [name]
        for path in matches:
            if (other := found.setdefault(path.resolve(), name)) != name:
                raise UserError(f"{table}: {other} and {name} are the same file; write its name in one way everywhere")
    if missing:
        raise UserError(
            f"{table}: {len(missing)} of {len(names)} images are not below {folder}: {some(missing)}; write each path as it is "
            "below that folder, with its ending"
        )
    return list(found)


def most_folds(sources: int) -> int:
    """How many folds have enough sources; 0 if those are not even two."""
    return sources // FOLD if sources >= 2 * FOLD else 0


def folds(index: pd.DataFrame, count: int, seed: int) -> Splits:
    """Splits whose test sides are ``count`` folds of similar size and similar quality; a source's images share a fold.

    Similar in quality because the scores of all folds are ranked together: a model that scores a fold of good images was
    trained on the remaining, worse ones and would score the whole fold too low. Raises UserError if a fold would have
    fewer than 5 sources.
    """
    rng, of = np.random.default_rng(seed), source_ids(index)
    sizes = np.bincount(of)
    if len(sizes) < FOLD * count:
        most = most_folds(len(sizes))
        raise UserError(
            f"{len(sizes)} sources cannot be divided into {count} folds of at least {FOLD}; choose --folds "
            + (f"{most}, or 0 for none" if most else "0 for none")
        )
    quality = np.bincount(of, index["quality"]) / sizes
    order, part = np.lexsort((quality, -sizes)), np.zeros(len(sizes), int)
    for start in range(0, len(order), count):  # neighbours in size and quality go to different folds
        near = order[start : start + count]
        part[near] = rng.permutation(count)[: len(near)]
    return Splits(np.stack([ranked(np.flatnonzero(part[of] != fold), len(of), rng) for fold in range(count)]))
