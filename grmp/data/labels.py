"""The ratings of an unpacked database as one table, checked against its entry; and which file each image is."""

from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import numpy as np
import pandas as pd

from grmp.data.databases._entry import Absent, Database, Files
from grmp.data.dataset import COLUMNS
from grmp.data.decode import median_side
from grmp.data.scale import Scale
from grmp.data.tables import plain
from grmp.errors import UserError, reading
from grmp.files import listing


def read(entry: Database, folder: Path, keep_excluded: bool = False) -> pd.DataFrame:
    """The ratings of the database that is unpacked in ``folder``: ``COLUMNS`` and ``set``, one row per image, sorted by image.

    ``quality`` is in [0, 1], higher is better: the score's place in the published range. ``set`` is the publisher's own
    split ("training", "test", ...) or empty. ``keep_excluded`` keeps the images that are not part of the study. Raises
    UserError if no score file is found, or its scores are not the published ones.
    """
    files, absent = Files(), []
    for path in sorted((Path(p) for p, _ in listing(folder)), key=lambda p: (len(p.parts), p)):
        files.setdefault(path.name.lower(), folder / path)
    for reader in entry.readers:
        with reading(folder, f"fetch it again (its score file was read by {reader.__name__})"):
            try:
                return _table(entry, reader(files).astype({"mos": float}), keep_excluded)
            except Absent as name:
                absent.append(str(name))
    missing = f"no score file below {folder} (not there: {', '.join(absent)})"
    raise UserError(f"{entry.name}: {missing}; see {entry.page}: {entry.by_hand}")


def _table(entry: Database, found: pd.DataFrame, keep_excluded: bool) -> pd.DataFrame:
    """One canonical name per image, its quality, and the checks."""
    t = found.reset_index(drop=True).reindex(columns=["name", *COLUMNS[1:], "set"])
    try:
        names = pd.DataFrame([entry.parse(str(n).strip().replace("\\", "/")) for n in t["name"]], dtype=object)
    except (ValueError, KeyError, IndexError):
        raise UserError(f"{entry.name}: its score file names an image that is not part of this database") from None
    t["image"] = names["image"]
    t["mos_std"] = pd.to_numeric(t["mos_std"], errors="coerce")
    t["reference"] = t["reference"].map(lambda v: PurePosixPath(str(v)).stem, na_action="ignore")
    for column in ("reference", "distortion", "level"):
        t[column] = names[column].where(names[column] != "").fillna(t[column].astype(object))
    t["level"] = t["level"].astype(float).astype("Int64")
    t["set"] = t["set"].astype(object).fillna("")
    study = t[~t["image"].str.fullmatch(entry.exclude)]
    _check(entry, study)
    if not keep_excluded:
        t = study
    low, high = entry.scores.low, entry.scores.high
    quality = Scale(low, high, entry.scores.higher_better).quality(t["mos"].to_numpy()).round(9) + 0.0  # no -0.0
    if not ((quality >= 0) & (quality <= 1)).all():
        raise UserError(f"{entry.name}: scores outside {low:g}..{high:g}; get the official score file")
    return t.assign(quality=quality).sort_values("image", ignore_index=True)[[*COLUMNS, "set"]]


def _check(entry: Database, t: pd.DataFrame) -> None:
    """Compare count, range, mean and standard deviation with the entry, which shows a wrong scale or direction."""
    for trouble, rows in (("is rated twice", t["image"].duplicated()), ("has no score", t["mos"].isna())):
        if rows.any():
            raise UserError(f"{entry.name}: '{t['image'][rows].iloc[0]}' {trouble} in its score file")
    stated = entry.scores
    if stated.count and len(t) != stated.count:
        raise UserError(f"{entry.name}: its score file has {len(t)} images, not {stated.count}; get the official one")
    if stated.sd:
        published = (stated.low, stated.high, stated.mean, stated.sd)
        measured = (t["mos"].min(), t["mos"].max(), t["mos"].mean(), t["mos"].std(ddof=0))
        if not np.allclose(measured, published, rtol=0, atol=1e-4 * (stated.high - stated.low)):
            here, there = (", ".join(f"{v:.4f}" for v in values) for values in (measured, published))
            raise UserError(
                f"{entry.name}: minimum, maximum, mean and sd of its scores are {here}, published are {there}; "
                "another scale or version? get the official score file"
            )


def candidates(names: Sequence[str], folder: Path) -> list[list[Path]]:
    """For each name the files below ``folder`` whose paths end in it, compared as ``plain`` text; shortest path first."""
    by_name = defaultdict(list)
    for path in sorted((Path(p) for p, _ in listing(folder)), key=lambda p: (len(p.parts), p)):
        by_name[plain(path.name)].append((path, tuple(map(plain, path.parts))))
    ends = [Path(plain(name)).parts or ("",) for name in names]
    return [[folder / path for path, parts in by_name[end[-1]] if parts[-len(end) :] == end] for end in ends]


def locate(names: Sequence[str], folder: Path, prefer: str) -> list[Path | None]:
    """The file of each image, None if there is none; among several the one in a folder ``prefer``, else the first."""
    return [min(found, key=lambda p: prefer not in p.parts, default=None) for found in candidates(names, folder)]


def resized(entry: Database, paths: Sequence[Path | None]) -> str:
    """Why these files are a copy of the database with smaller images; empty if they are not."""
    side = median_side(list(filter(None, paths))) if entry.side else 0
    stated = f"those of {entry.name} {entry.side} or more: a resized copy"
    return "" if side >= entry.side else f"its images have a shorter side of {side} pixels, {stated}"
