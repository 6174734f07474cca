"""Pictures and scores as published -> index.csv, images.npy, info.json.

Threads decode (Pillow lets go of the interpreter lock) and each writes its own rows of the mapped file, so memory holds one
picture a thread whatever the database's size. Blocks that are done are noted, so an interrupted run goes on; the result is
moved into place when it is whole, info.json last.
"""

import shutil
import struct
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import ExifTags, Image, UnidentifiedImageError
from tqdm import tqdm

from grmp.code import code_digest
from grmp.data import fetch, registry
from grmp.data import labels as scores
from grmp.data.dataset import COLUMNS
from grmp.errors import UserError
from grmp.files import read_json, sha256, sha256_of, write_json, write_text
from grmp.pool import cpus

BLOCK = 64  # pictures a thread takes at a time
ENDINGS = (".bmp", ".jpg", ".jpeg", ".png")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")  # of 8 bits a channel
TURNS = {  # what brings a picture upright, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def picture(path: Path, size: int, aspect: str, upright: bool = False) -> np.ndarray:
    """One picture as (3, size, size) uint8: squashed (as published), or shorter side to ``size`` and the centre; bicubic.

    ``upright`` turns it as its camera noted; the databases are read as published code reads them, without that.
    """
    with Image.open(path) as opened:
        if opened.mode not in MODES:
            raise ValueError(f"pixels of mode {opened.mode}; save it with 8 bits a channel")
        image = opened.convert("RGB")
        turn = TURNS.get(opened.getexif().get(ExifTags.Base.Orientation, 1)) if upright else None
    if turn is not None:
        image = image.transpose(turn)
    if aspect == "keep":
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        image = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + side, top + side))
    else:
        image = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(image).transpose(2, 0, 1)


def try_picture(path: Path, size: int, aspect: str, upright: bool = False) -> np.ndarray | str:
    """``picture``, or why there is none."""
    try:
        return picture(path, size, aspect, upright)
    except UnidentifiedImageError:
        return "broken"
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        return f"broken: {error}"


def candidates(names: Sequence[str], folder: Path) -> list[list[Path]]:
    """For each name the files below ``folder`` whose paths end in it, letter case aside; the shortest path first."""
    by_name = defaultdict(list)
    for path in sorted((Path(p) for p, _ in fetch.listing(folder)), key=lambda p: (len(p.parts), p)):
        by_name[path.name.lower()].append(path)
    ends = [Path(name.lower()).parts for name in names]
    return [[folder / p for p in by_name[end[-1]] if Path(str(p).lower()).parts[-len(end) :] == end] for end in ends]


def locate(names: Sequence[str], folder: Path, prefer: str) -> list[Path | None]:
    """Where each picture is: of several copies the one in the folder ``prefer``, else the first; None where there is none."""
    return [min(found, key=lambda p: prefer not in p.parts, default=None) for found in candidates(names, folder)]


def prepare(
    name: str,
    raw: Path,
    prepared: Path,
    size: int,
    aspect: str,
    allow_missing: int = 0,
    training_pictures: bool = False,
) -> pd.DataFrame:
    """Write ``prepared/<name>/`` from ``raw/<name>/``; returns the score table of what is in it (with ``set``).

    Raises
    ------
    UserError
        If the database is not fetched, its scores are not the published ones, or more than ``allow_missing`` pictures are
        missing or broken (they are named).
    """
    entry, target, work = registry.get(name), prepared / name, prepared / f".{name}.partial"
    receipt = fetch.receipt(name, raw)
    if receipt is None:
        raise UserError(f"{name} is not fetched; run: grmp data fetch {name}")
    table = scores.read(entry, raw / name, training_pictures)
    options = {"size": size, "aspect": aspect, "training_pictures": training_pictures}
    code = code_digest("grmp.data.prepare")
    identity = sha256_of(options | {"raw": receipt["listing"], "files": receipt["files"], "code": code})
    if (info := _whole(target, identity)) and len(info["left_out"]) <= allow_missing:
        print(f"{name}: already prepared, {info['count']} pictures")
        return table[~table["image"].isin(info["left_out"])].reset_index(drop=True)

    paths = locate(table["image"].tolist(), raw / name, entry.prefer)
    missing = {i: "missing" for i, path in enumerate(paths) if path is None}
    if missing:
        _refuse(name, table, missing, allow_missing)  # before an hour of decoding
    images = _decode(name, paths, work, identity, size, aspect, broken := dict(missing))
    _refuse(name, table, broken, allow_missing)
    facts = options | {"identity": identity, "source": receipt["source"]}
    facts["left_out"] = [table["image"][i] for i in sorted(broken)]
    if broken:
        images, table = _without(images, table, sorted(broken), work)
    _finish(entry, images, table, target, work, facts)
    return table


def _whole(target: Path, identity: str) -> dict[str, Any] | None:
    """info.json of a finished preparation of the same raw files with the same settings, or None."""
    try:
        info: dict[str, Any] = read_json(target / "info.json")
        same = info["identity"] == identity and all(sha256(target / f) == h for f, h in info["sha256"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    return info if same else None


def _decode(
    name: str, paths: list[Path | None], work: Path, identity: str, size: int, aspect: str, broken: dict[int, str]
) -> np.ndarray:
    """Pictures as a mapped (N, 3, size, size) array in ``work``; what cannot be read goes to ``broken``."""
    plan, noted, shape = work / "plan", work / "done", (len(paths), 3, size, size)
    if not (plan.is_file() and plan.read_text() == identity):
        if work.exists():
            shutil.rmtree(work)
        work.mkdir(parents=True)
        if np.prod(shape) > (free := shutil.disk_usage(work).free):
            raise UserError(f"{name}: {np.prod(shape) / 1e9:.1f} GB needed at {work.parent}, {free / 1e9:.1f} GB free")
        np.lib.format.open_memmap(work / "images.npy", "w+", np.uint8, shape)
        noted.touch()
        write_text(plan, identity)
    images = np.lib.format.open_memmap(work / "images.npy", "r+")
    done = {int(line) for line in noted.read_text().splitlines(keepends=True) if line.endswith("\n")}

    def block(start: int) -> dict[int, str]:
        failed = {}
        for i in range(start, min(start + BLOCK, len(paths))):
            path = paths[i]
            if path is not None:
                found = try_picture(path, size, aspect)
                if isinstance(found, str):
                    failed[i] = found
                images[i] = 0 if isinstance(found, str) else found
        return failed

    todo = [start for start in range(0, len(paths), BLOCK) if start not in done]
    print(f"{name}: decoding {len(paths)} pictures" + (f", {len(done)} blocks are done" if done else ""), flush=True)
    with (
        ThreadPoolExecutor(cpus()) as pool,
        noted.open("a") as note,
        tqdm(total=len(todo) * BLOCK, desc=f"prepare {name}", unit="picture", disable=None) as bar,
    ):
        for start, failed in zip(todo, pool.map(block, todo), strict=True):
            broken.update(failed)
            if not failed:  # a broken picture is looked at again next time: it may have been mended
                images.flush()  # the pictures are on disk before the note that says so
                note.write(f"{start}\n")
                note.flush()
            bar.update(BLOCK)
    return images


def _refuse(name: str, table: pd.DataFrame, broken: dict[int, str], allowed: int) -> None:
    if len(broken) > allowed:
        some = ", ".join(f"{table['image'][i]} ({broken[i]})" for i in sorted(broken)[:5])
        some += ", ..." if len(broken) > 5 else ""
        raise UserError(
            f"{name}: {len(broken)} of {len(table)} pictures are missing or broken: {some}; "
            f"fetch it again, or go without them: grmp data prepare {name} --allow-missing {len(broken)}"
        )


def _without(images: np.ndarray, table: pd.DataFrame, rows: list[int], work: Path) -> tuple[np.ndarray, pd.DataFrame]:
    """The array and the table without some rows."""
    keep = np.setdiff1d(np.arange(len(table)), rows)
    if not len(keep):
        raise UserError(f"none of the {len(table)} pictures could be read; fetch them again")
    kept = np.lib.format.open_memmap(work / "kept.npy", "w+", np.uint8, (len(keep), *images.shape[1:]))
    for part in np.array_split(np.arange(len(keep)), len(keep) // BLOCK + 1):
        kept[part] = images[keep[part]]
    kept.flush()
    (work / "kept.npy").replace(work / "images.npy")
    (work / "plan").unlink()  # its rows are no longer the plan's
    return kept, table.iloc[keep].reset_index(drop=True)


def _finish(
    entry: registry.Database,
    images: np.ndarray,
    table: pd.DataFrame,
    target: Path,
    work: Path,
    facts: dict[str, Any],
) -> None:
    """Table and card into ``work``, then all three files into place, info.json last."""
    write_text(work / "index.csv", table[COLUMNS].to_csv(index=False, lineterminator="\n"))
    info = facts | {
        "name": entry.name,
        "title": entry.title,
        "kind": entry.kind,
        "count": len(table),
        "range": [entry.low, entry.high],
        "higher_better": entry.higher_better,
        "sha256": {file: sha256(work / file) for file in ("index.csv", "images.npy")},
    }
    target.mkdir(parents=True, exist_ok=True)
    (target / "info.json").unlink(missing_ok=True)
    (work / "plan").unlink(missing_ok=True)  # from here on an interruption starts afresh
    for file in ("index.csv", "images.npy"):
        (work / file).replace(target / file)
    write_json(target / "info.json", info)
    shutil.rmtree(work)
