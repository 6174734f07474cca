"""Images and scores as published -> ``index.csv``, ``images.npy`` and ``info.json``.

Threads decode, because Pillow releases the interpreter lock, and each writes its rows of a memory-mapped file: memory does
not grow with the database. An interrupted run continues with the blocks that are not done. The files are moved into place
when all are complete, info.json last.
"""

import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from grmp.code import code_digest
from grmp.data import databases, labels
from grmp.data.dataset import COLUMNS
from grmp.data.decode import FAULTS, fit, jpeg_complaint, load, versions, why
from grmp.data.fetch import receipt
from grmp.device import cpus
from grmp.errors import UserError
from grmp.files import read_json, sha256, sha256_of, write_json, write_text

BLOCK = 64  # images that a thread takes at a time


def prepare(
    name: str,
    raw: Path,
    prepared: Path,
    size: int,
    aspect: str,
    allow_missing: int = 0,
    keep_excluded: bool = False,
) -> pd.DataFrame:
    """Write ``prepared/<name>/`` from ``raw/<name>/``; returns the labels of what is in it (with ``set``).

    Raises
    ------
    UserError
        If the database is not fetched, its scores are not the published ones, or more than ``allow_missing`` images are
        missing or corrupt (they are named).
    """
    entry, target, work = databases.get(name), prepared / name, prepared / f".{name}.partial"
    fetched = receipt(name, raw)
    if fetched is None:
        raise UserError(f"{name} is not fetched; run: grmp data fetch {name}")
    table = labels.read(entry, raw / name, keep_excluded)
    options = {"size": size, "aspect": aspect, "keep_excluded": keep_excluded}
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
    images = _decode(name, paths, work, identity, size, aspect, unusable)
    _refuse(name, table, unusable, allow_missing)
    left_out = [table["image"][i] for i in sorted(unusable)]
    pixels = np.load(work / "pixels.npy")  # width, height, complaint
    complaints = [name for name, found in zip(table["image"], pixels[:, 2], strict=True) if found]
    if complaints:
        some = ", ".join(complaints[:5]) + (", ..." if len(complaints) > 5 else "")
        print(f"{name}: {len(complaints)} images have corrupt JPEG data and are used as decoded: {some}")
    if unusable:
        images, table = _without(images, table, list(unusable), work)
    write_text(work / "index.csv", table[COLUMNS].to_csv(index=False, lineterminator="\n"))
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
        "pixels": _sizes(pixels[pixels[:, 0] > 0, :2]),
        "decoder": decoder,
        "identity": identity,
        "sha256": {file: sha256(work / file) for file in ("index.csv", "images.npy")},
    }
    target.mkdir(parents=True, exist_ok=True)
    (target / "info.json").unlink(missing_ok=True)
    (work / "plan").unlink(missing_ok=True)  # an interruption from here on starts again
    for file in ("index.csv", "images.npy"):
        (work / file).replace(target / file)
    write_json(target / "info.json", info)
    shutil.rmtree(work)
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
    name: str, paths: list[Path | None], work: Path, identity: str, size: int, aspect: str, unusable: dict[int, str]
) -> np.ndarray:
    """Images as a memory-mapped (N, 3, size, size) array in ``work``; adds the reasons of corrupt ones to ``unusable``.

    ``pixels.npy`` (N, 3) gets the original width and height, and 1 where libjpeg complains of an image that it decodes.
    """
    plan, noted, shape = work / "plan", work / "done", (len(paths), 3, size, size)
    if not (plan.is_file() and plan.read_text() == identity):
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        if np.prod(shape) > (free := shutil.disk_usage(work).free):
            raise UserError(
                f"{name}: needs {np.prod(shape) / 1e9:.1f} GB at {work.parent}, {free / 1e9:.1f} GB are free"
            )
        np.lib.format.open_memmap(work / "images.npy", "w+", np.uint8, shape)
        np.lib.format.open_memmap(work / "pixels.npy", "w+", np.int32, (len(paths), 3))
        noted.touch()
        write_text(plan, identity)
    images, pixels = (np.lib.format.open_memmap(work / f"{file}.npy", "r+") for file in ("images", "pixels"))
    done = {int(line) for line in noted.read_text().splitlines(keepends=True) if line.endswith("\n")}

    def block(start: int) -> dict[int, str]:
        failed = {}
        for i, path in enumerate(paths[start : start + BLOCK], start):
            if path is None:
                continue
            try:
                image = load(path, displayed=False)
                images[i] = fit(image, size, aspect)
                pixels[i] = (*image.size, bool(jpeg_complaint(path.read_bytes())))
            except FAULTS as error:
                failed[i], images[i], pixels[i] = why(error), 0, 0
        return failed

    todo = [start for start in range(0, len(paths), BLOCK) if start not in done]
    print(f"{name}: decoding {len(paths)} images" + (f", {len(done)} blocks are done" if done else ""), flush=True)
    with (
        ThreadPoolExecutor(cpus()) as pool,
        noted.open("a") as note,
        tqdm(total=len(todo) * BLOCK, desc=f"prepare {name}", unit="image", disable=None) as bar,
    ):
        for start, failed in zip(todo, pool.map(block, todo), strict=True):
            unusable.update(failed)
            if not failed:  # a corrupt image is read again next time: it may have been replaced
                pixels.flush()
                images.flush()  # images are on disk before the note that says so
                note.write(f"{start}\n")
                note.flush()
            bar.update(BLOCK)
    return images


def _refuse(name: str, table: pd.DataFrame, unusable: dict[int, str], allowed: int) -> None:
    if len(unusable) > allowed:
        some = ", ".join(f"{table['image'][i]} ({unusable[i]})" for i in sorted(unusable)[:5])
        some += ", ..." if len(unusable) > 5 else ""
        raise UserError(
            f"{name}: {len(unusable)} of {len(table)} images are missing or corrupt: {some}; "
            f"fetch it again, or continue without them: grmp data prepare {name} --allow-missing {len(unusable)}"
        )


def _without(images: np.ndarray, table: pd.DataFrame, rows: list[int], work: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """The array and the table without some rows."""
    keep = np.setdiff1d(np.arange(len(table)), rows)
    if not len(keep):
        raise UserError(f"none of the {len(table)} images can be read; fetch them again")
    kept = np.lib.format.open_memmap(work / "kept.npy", "w+", np.uint8, (len(keep), *images.shape[1:]))
    for part in np.array_split(np.arange(len(keep)), len(keep) // BLOCK + 1):
        kept[part] = images[keep[part]]
    kept.flush()
    (work / "kept.npy").replace(work / "images.npy")
    (work / "plan").unlink()  # its rows are no longer the planned ones
    return kept, table.iloc[keep].reset_index(drop=True)
