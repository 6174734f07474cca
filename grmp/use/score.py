"""``grmp score``: images in files and folders -> a table of their quality, one row as soon as it is known."""

import contextlib
import csv
import io
import json
import math
import os
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from grmp.data.decode import concerns
from grmp.data.find import claim_output, find, printable, tally
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.files import sha256_of, write_text
from grmp.finetune.scorer import QualityModel, load
from grmp.finetune.trust import LEVEL

DIGITS = {"percentile": 1}  # decimals, else 4
Row = dict[str, float | str]
ALIKE, FEW = 0.002, 10  # scores of so many images that differ by less are worth a notice


def score(
    given: Sequence[Path],
    name: str | Path,
    device: str = "auto",
    *,
    crops: int = 0,
    below: float | None = None,
    worst: int = 0,
    as_json: bool = False,
    out: Path | None = None,
    html: Path | None = None,
) -> tuple[int, int]:
    """Write one row per image; returns how many are unreadable, and how many are worse than ``below``.

    Rows have the columns of `grmp.finetune.trust.judge` and, with crops, the mean and the least quality of the crops. With
    ``out``, scores are noted in a file beside it, and an interrupted call continues from there.

    Raises UserError if the model, called ``name``, a file or a folder does not exist, or a folder has no images.
    """
    if out and html and out.resolve() == html.resolve():
        raise UserError(f"-o and --html both name {out}; name two files")
    for file in filter(None, (out, html)):
        claim_output(file)
    left_out, remarks = Counter[str](), Counter[str]()
    paths = find(given, left_out)
    model = load(name, choose_device(device, 1))
    if below is not None and not model.scale.low <= below <= model.scale.high:
        raise UserError(f"--below {below:g}: ratings of this model are {model.scale.low:g} to {model.scale.high:g}")
    notes = out and out.with_name(f".{out.name}.{sha256_of([model.card['sha256'], crops])[:16]}.notes")
    limit = None if below is None else model.scale.quality(np.array([below]))[0]
    kept: list[tuple[Path, Row]] = []
    unread = worse = shown = 0
    least, most = np.inf, -np.inf
    for path, (row, trouble) in zip(paths, _rows(model, paths, crops, notes), strict=True):
        quality, unread = float(row["quality"]), unread + bool(trouble)
        least, most = np.fmin(least, quality), np.fmax(most, quality)
        if not trouble:
            remarks.update(concerns(path, model.card["size"], model.card["aspect"], model.clip.shape.patch_size))
        if limit is not None and not quality < limit:
            continue
        worse += limit is not None
        if out or worst or html:  # else rows are not kept: memory does not grow with them
            kept.append((path, row))
        if not (out or worst):
            print(_line(row, as_json, first=not shown), end="", flush=True)
            shown += 1
    if worst:
        kept = sorted(kept, key=lambda one: float(np.nan_to_num(float(one[1]["quality"]), nan=np.inf)))[:worst]
    text = "".join(_line(row, as_json, first=i == 0) for i, (_, row) in enumerate(kept))
    if out and notes:
        if not kept and not as_json:  # nothing below the limit: the columns alone
            text = _line(row, as_json, first=True).splitlines(keepends=True)[0]
        write_text(out, text)
        notes.unlink(missing_ok=True)
        print(f"{out}: {len(paths) - unread} images scored")
    elif worst:
        print(text, end="")
    if html:
        from grmp.use.html import write

        write(html, kept, model.scale, meaning(model))
    alike = len(paths) - unread >= FEW and most - least < ALIKE
    spread = f"all scores lie within {most - least:.4f}, no more than saving a JPEG changes" if alike else ""
    counted = (f"{n} of {len(paths)} images are {clause}" for clause, n in remarks.items())
    for line in (*counted, spread, tally(left_out), caution(model.card)):
        if line:
            print(line, file=sys.stderr)
    if sys.stderr.isatty():
        print(meaning(model), file=sys.stderr)
    return unread, worse


def meaning(model: QualityModel) -> str:
    """What the columns of ``model`` say, in one line."""
    scale, known = model.scale, model.card.get("known")
    return (
        f"quality: 0 to 1, higher is better; predicted_rating: {scale.low:g} to {scale.high:g}"
        + (f", low to high for about {LEVEL:.0%} of images like the rated ones" if "errors" in model.card else "")
        + (f"; percentile: among {known}" if known else "")
    )


def caution(card: dict[str, Any]) -> str:
    """Whether the model is no better than chance in its own cross-validation, in one line; empty if it is better."""
    row = next((row for row in card.get("comparison", []) if row["method"] == card["method"]), None)
    if row is None or row["low"] > 0:
        return ""
    found = f"{row['srcc']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
    return f"this order of images may be chance: the model's cross-validated SRCC is {found}; rate more images"


def _rows(model: QualityModel, paths: list[Path], crops: int, notes: Path | None) -> Iterator[tuple[Row, str]]:
    """(row, reason why it could not be read), in order."""
    from tqdm import tqdm

    known, keys = _known(notes), [_key(path) if notes else "" for path in paths]
    fresh = model.rate([path for path, key in zip(paths, keys, strict=True) if key not in known], crops)
    bar = tqdm(paths, desc="score", unit="image", delay=5, disable=None)
    with notes.open("a") if notes else contextlib.nullcontext() as note:
        for path, key in zip(bar, keys, strict=True):
            found, trouble = (known[key], "") if key in known else next(fresh)
            if trouble:
                tqdm.write(f"{printable(path)}: {trouble}", file=sys.stderr)
            elif note and key not in known:
                print(json.dumps([key, list(found)]), file=note, flush=True)
            quality, *parts = found
            row: Row = {"image": printable(path)}
            row |= {name: float(value[0]) for name, value in model.judge(np.array([quality])).items()}
            if parts:
                row |= {"crops_mean": float(np.mean(parts)), "crops_min": float(np.min(parts))}
            yield row, trouble


def _line(row: Row, as_json: bool, first: bool) -> str:
    """A row of CSV, after the header if it is the first, or an object of JSON; NaN is empty or null."""
    values = {
        name: value if isinstance(value, str) else None if math.isnan(value) else round(value, DIGITS.get(name, 4))
        for name, value in row.items()
    }
    if as_json:
        return json.dumps(values, ensure_ascii=False) + "\n"
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([values.keys(), values.values()] if first else [values.values()])
    return text.getvalue()


def _key(path: Path) -> str:
    """An image as it is now: one that was written since is scored again; empty if it is gone."""
    with contextlib.suppress(OSError):
        state = path.stat()
        return f"{os.fsencode(path.resolve())!r} {state.st_size} {state.st_mtime_ns}"
    return ""


def _known(notes: Path | None) -> dict[str, list[float]]:
    """Key -> qualities from the complete lines that an interrupted call left."""
    known = {}
    for line in notes.read_text(errors="replace").splitlines() if notes and notes.is_file() else []:
        with contextlib.suppress(ValueError):  # the last line may be cut off
            key, values = json.loads(line)
            known[key] = values
    return known
