"""Images and scores as published -> ``index.csv``, ``info.json`` and an array for each way in which images are resized.

Threads decode, because Pillow releases the interpreter lock, and each writes its rows of memory-mapped files: memory does
not grow with the database. An interrupted run continues with the images that are not done. The folder is moved into place
when it is complete.
"""

import hashlib
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from grmp.code import code_digest
from grmp.data import databases, labels
from grmp.data.dataset import COLUMNS, array
from grmp.data.decode import complaint, each, load, resized, side, versions
from grmp.data.duplicates import groups
from grmp.data.fetch import receipt
from grmp.device import cpus
from grmp.errors import UserError, some
from grmp.files import allocate, read_json, sha256, sha256_of, write_json, write_text

BLOCK = 64  # images per thread between two flushes to disk


def prepare(
    name: str,
    raw: Path,
    prepared: Path,
    size: int,
    aspect: str,
    allow_missing: int = 0,
    keep_excluded: bool = False,
    views: Sequence[str] = ("pillow",),
) -> pd.DataFrame:
    """Write ``prepared/<name>/`` from ``raw/<name>/``; returns the labels of what is in it (with ``set``).

    ``views`` are the ways in which images are resized (``decode.resized``), one array for each. Raises UserError if the
    database is not fetched, its scores are not the published ones, or more than ``allow_missing`` images are missing or
    corrupt (they are named).
    """
    entry, target, work = databases.get(name), prepared / name, prepared / f".{name}.partial"
    fetched = receipt(name, raw)
    if fetched is None:
        raise UserError(f"{name} is not fetched; run: grmp data fetch {name}")
    table = labels.read(entry, raw / name, keep_excluded)
    options = {"size": size, "aspect": aspect, "keep_excluded": keep_excluded, "views": list(views)}
    code = code_digest("grmp.data.prepare", *{f.__module__ for f in (entry.parse, *entry.readers)})
    of_raw = {key: fetched[key] for key in ("listing", "files", "code")}
    decoder = versions()
    identity = sha256_of(options | of_raw | {"prepare": code, "decoder": decoder})
    if (info := _up_to_date(target, identity)) and len(info["left_out"]) <= allow_missing:
        shutil.rmtree(work, ignore_errors=True)
        print(f"{name}: already prepared, {info['count']} images")
        return table[~table["image"].isin(info["left_out"])].reset_index(drop=True)

    paths = labels.locate(table["image"].tolist(), raw / name, entry.prefer)
    unusable = {i: "missing" for i, path in enumerate(paths) if path is None}
    _refuse(name, table, unusable, allow_missing)  # before decoding, which may take an hour
    if reason := labels.resized(entry, paths):
        raise UserError(f"{name}: {reason}; get the original, see {entry.page}")
    unusable |= _decode(name, paths, work, identity, views, size, aspect)
    _refuse(name, table, unusable, allow_missing)
    left_out = [table["image"][i] for i in sorted(unusable)]
    pixels = np.load(work / "pixels.npy")  # width, height, complaint
    complaints = [name for name, found in zip(table["image"], pixels[:, 2], strict=True) if found]
    if complaints:
        print(f"{name}: {len(complaints)} images have corrupt data and are used as decoded: {some(complaints)}")
    if unusable:
        table = _without(table, sorted(unusable), work, views)
    images = np.load(work / array(views[0]), mmap_mode="r")
    copies = len(images) - len({hashlib.sha256(image.tobytes()).digest() for image in images})
    # distorted versions of one reference look alike by design, and are never in two parts of a split
    alike = len(images) - len(set(groups(images))) - copies if entry.kind == "authentic" else 0
    areas = pixels[pixels[:, 0] > 0, :2]
    sizes = {"x".join(map(str, area)) for area in areas}
    small = int(np.sum(areas.min(1) < entry.side))
    if copies:
        print(f"{name}: {copies} of {len(images)} images are copies of others")
    if alike:
        print(f"{name}: images that look like another one (perceptual hash): {alike}; splits may part them")
    if small:
        print(f"{name}: {small} images have a shorter side of less than {entry.side} pixels")
    if entry.pixels and sizes != {entry.pixels}:
        print(f"{name}: images of {', '.join(sorted(sizes)[:5])}; official are {entry.pixels}")
    write_text(work / "index.csv", table[COLUMNS].to_csv(index=False, lineterminator="\n"))
    hashes = {file: sha256(work / file) for file in ("index.csv", *map(array, views))}
    info = options | {
        "name": name,
        "title": entry.title,
        "kind": entry.kind,
        "count": len(table),
        "range": [entry.scores.low, entry.scores.high],
        "higher_better": entry.scores.higher_better,
        "source": fetched["source"],
        "left_out": left_out,
        "corrupt": complaints,
        "copies": copies,
        "alike": alike,
        "pixels": _sizes(areas),
        "decoder": decoder,
        "identity": identity,
        "sha256": hashes,
        # what a record depends on: the table, the images of one view, their original sizes, the versions of the decoders, and
        # the kind of the database, which decides the size of a batch
        "views": {
            v: sha256_of([hashes["index.csv"], hashes[array(v)], _sizes(areas), decoder, entry.kind]) for v in views
        },
    }
    write_json(work / "info.json", info)
    for file in ("plan", "pixels.npy"):  # without its plan an interrupted run starts again
        (work / file).unlink(missing_ok=True)
    shutil.rmtree(target, ignore_errors=True)
    work.replace(target)
    return table


def _sizes(pixels: np.ndarray) -> dict[str, str]:
    """Smallest, median and largest image by area, as width x height."""
    order = pixels[np.argsort(pixels.prod(1), kind="stable")]
    places = {"smallest": 0, "median": len(order) // 2, "largest": -1}
    return {word: "{}x{}".format(*order[at]) for word, at in places.items()} if len(order) else {}


def _up_to_date(target: Path, identity: str) -> dict[str, Any] | None:
    """info.json if it has this identity and its files are unchanged."""
    try:
        info: dict[str, Any] = read_json(target / "info.json")
        same = info["identity"] == identity and all(sha256(target / f) == h for f, h in info["sha256"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return info if same else None


def _decode(
    name: str, paths: list[Path | None], work: Path, identity: str, views: Sequence[str], size: int, aspect: str
) -> dict[int, str]:
    """Write a memory-mapped array (N, 3, S, S) of each view to ``work``; return the reasons of corrupt images by position.

    ``pixels.npy`` (N, 3) gets the original width and height, and 1 for a ``complaint`` of an image that is decoded. It is 0
    where there is no image yet.
    """
    plan, count = work / "plan", len(paths)
    sides, corrupt = {view: side(view, size) for view in views}, dict[int, str]()
    if not (plan.is_file() and plan.read_text() == identity):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        needed, free = sum(count * 3 * s**2 for s in sides.values()), shutil.disk_usage(work).free
        if needed > free:
            raise UserError(f"{name}: needs {needed / 1e9:.1f} GB at {work.parent}, {free / 1e9:.1f} GB are free")
        for view, s in sides.items():
            np.lib.format.open_memmap(work / array(view), "w+", np.uint8, (count, 3, s, s))
            allocate(work / array(view))
        np.lib.format.open_memmap(work / "pixels.npy", "w+", np.int32, (count, 3))
        write_text(plan, identity)
    images = {view: np.lib.format.open_memmap(work / array(view), "r+") for view in sides}
    pixels = np.lib.format.open_memmap(work / "pixels.npy", "r+")

    def decoded(row: int) -> tuple[int, int, bool]:
        image = load(todo[row], displayed=False)
        for view, of_view in images.items():
            of_view[row] = resized(todo[row], image, view, size, aspect)
        return *image.size, bool(complaint(todo[row].read_bytes()))

    todo = {i: path for i, path in enumerate(paths) if path is not None and not pixels[i, 0]}
    print(f"{name}: decoding {len(todo)} of {count} images", flush=True)
    rows, block = list(todo), BLOCK * cpus()
    for start in tqdm(range(0, len(rows), block), f"prepare {name}", unit="image", unit_scale=block, disable=None):
        found, unread = each(rows[start : start + block], decoded)
        for of_view in images.values():
            of_view.flush()  # images are on disk before their size, which says that they are
        for row, what in found.items():
            pixels[row] = what
        pixels.flush()
        corrupt |= unread  # they are read again next time: they may have been replaced
    return corrupt


def _refuse(name: str, table: pd.DataFrame, unusable: dict[int, str], allowed: int) -> None:
    if len(unusable) > allowed:
        named = some([f"{table['image'][i]} ({unusable[i]})" for i in sorted(unusable)])
        raise UserError(
            f"{name}: {len(unusable)} of {len(table)} images are missing or corrupt: {named}; delete data/raw/{name} and "
            f"fetch it again, or continue without them: set data.allow_missing: {len(unusable)} in params.yaml (without DVC "
            f"also: grmp data prepare {name} --allow-missing {len(unusable)})"
        )


def _without(table: pd.DataFrame, rows: list[int], work: Path, views: Sequence[str]) -> pd.DataFrame:
    """Leave some rows out of the table and of the arrays."""
    keep = np.setdiff1d(np.arange(len(table)), rows)
    if not len(keep):
        raise UserError(f"none of the {len(table)} images can be read; fetch them again")
    for file in map(array, views):
        images = np.load(work / file, mmap_mode="r")
        kept = np.lib.format.open_memmap(work / "kept.npy", "w+", np.uint8, (len(keep), *images.shape[1:]))
        allocate(work / "kept.npy")
        for part in np.array_split(np.arange(len(keep)), len(keep) // BLOCK + 1):
            kept[part] = images[keep[part]]
        kept.flush()
        (work / "plan").unlink(missing_ok=True)  # from now on the rows are not the planned ones
        (work / "kept.npy").replace(work / file)
    return table.iloc[keep].reset_index(drop=True)
