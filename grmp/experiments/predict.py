"""``grmp score``: images in files and folders -> a table of their quality by a trained model."""

import contextlib
import json
import math
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from grmp.data.decode import ENDINGS
from grmp.device import choose_device, cpus
from grmp.errors import UserError
from grmp.files import claim, listing, sha256, write_text
from grmp.finetune.scorer import load


def score(file: Path, given: Sequence[Path], out: Path | None, device: str) -> int:
    """Write ``image,quality,mos`` for all images (mos on the rating scale of the model); returns how many are unreadable.

    With ``out``, scores are noted in a file beside it, and an interrupted call continues from there.

    Raises
    ------
    UserError
        If the model, a file or a folder does not exist, or a folder has no images.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {device}: choose auto, cpu or cuda")
    paths = find(given)
    model = load(file, choose_device(device, cpus()))
    notes = None
    if out:
        claim(out)
        notes = out.with_name(f".{out.name}.{sha256(file)[:16]}.notes")  # those of another model are of no use
    known, unread = _known(notes), 0
    quality = {path: known[key] for path in paths if (key := _key(path)) in known}
    todo = [path for path in paths if path not in quality]
    bar = tqdm(total=len(paths), initial=len(quality), desc="score", unit="image", disable=None)
    with bar, notes.open("a") if notes else contextlib.nullcontext() as note:
        for path, value, trouble in model.rate(todo):
            quality[path] = value
            if trouble:
                tqdm.write(f"{printable(path)}: {trouble}", file=sys.stderr)
                unread += 1
            elif note:
                print(json.dumps([_key(path), value]), file=note, flush=True)
            bar.update()
    table = pd.DataFrame({"image": map(printable, paths), "quality": [quality[path] for path in paths]})
    table["mos"] = model.scale.mos(table["quality"].to_numpy(np.float64))
    text = table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    if out and notes:
        write_text(out, text)
        notes.unlink()
        print(f"{out}: {len(table) - unread} images scored")
    else:
        print(text, end="")
    return unread


def printable(path: Path) -> str:
    r"""The name of a file as valid UTF-8 text on one line, in any locale: other bytes and control characters as \xNN."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def _key(path: Path) -> str:
    """An image as it is now: one that was written since is scored again."""
    state = path.stat()
    return f"{path.resolve()} {state.st_size} {state.st_mtime_ns}"


def _known(notes: Path | None) -> dict[str, float]:
    """Key -> quality from the complete lines that an interrupted call left."""
    known = {}
    for line in notes.read_text().splitlines() if notes and notes.is_file() else []:
        with contextlib.suppress(ValueError, TypeError):  # the last line may be cut off
            key, value = json.loads(line)
            if isinstance(key, str) and math.isfinite(value):
                known[key] = float(value)
    return known


def find(given: Sequence[Path]) -> list[Path]:
    """The files, and the images below the folders, each once and in order.

    Raises
    ------
    UserError
        If something does not exist, or a folder has no images.
    """
    found: dict[Path, Path] = {}
    for path in given:
        if not path.exists():
            raise UserError(f"{path} not found; give image files, or folders of images")
        inside = [path / p for p, _ in listing(path) if p.lower().endswith(ENDINGS)] if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path} has no images ({', '.join(ENDINGS)})")
        for one in inside:
            found.setdefault(one.resolve(), one)
    return list(found.values())
