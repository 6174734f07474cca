"""``grmp score``: images in files and folders -> a table of their quality by a trained model."""

import contextlib
import json
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path, PurePath

import numpy as np
import pandas as pd
from tqdm import tqdm

from grmp.data.decode import ENDINGS, concerns, is_image
from grmp.device import choose_device, cpus
from grmp.errors import UserError
from grmp.files import claim, sha256, survey, write_text
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
    left_out, remarks = Counter[str](), Counter[str]()
    paths = find(given, left_out)
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
    for path in tqdm(paths, desc="sizes", unit="image", disable=None, delay=5):
        remarks.update(concerns(path, model.card["size"], model.card["aspect"], model.clip.shape.patch_size))
    table = pd.DataFrame({"image": map(printable, paths), "quality": [quality[path] for path in paths]})
    table["mos"] = model.scale.mos(table["quality"].to_numpy(np.float64))
    text = table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    if out and notes:
        write_text(out, text)
        notes.unlink()
        print(f"{out}: {len(table) - unread} images scored")
    else:
        print(text, end="")
    for line in (
        *(f"{count} of {len(paths)} images are {clause}" for clause, count in remarks.items()),
        tally(left_out),
    ):
        if line:
            print(line, file=sys.stderr)
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


def find(given: Sequence[Path], left_out: Counter[str] | None = None) -> list[Path]:
    """The files, and the images below the folders, each once and in order; ``left_out`` counts the others by kind.

    Raises
    ------
    UserError
        If something does not exist, or a folder has no images.
    """
    found: dict[Path, Path] = {}
    left_out = Counter() if left_out is None else left_out
    for path in given:
        if not path.exists():
            raise UserError(f"{path} not found; give image files, or folders of images")
        inside = [path]
        if path.is_dir():
            files, apart = survey(path)
            inside = [path / p for p, _ in files if is_image(path / p)]
            known = set(inside)
            apart.update(PurePath(p).suffix.lower() or "without ending" for p, _ in files if path / p not in known)
            left_out.update(apart)
            if not inside:
                raise UserError(
                    f"{path} has no images ({tally(apart) or 'it is empty'}); readable: {', '.join(ENDINGS)}"
                )
        for one in inside:
            if (place := one.resolve()) in found:
                left_out["given twice"] += 1
            found.setdefault(place, one)
    return list(found.values())


def tally(left_out: Counter[str]) -> str:
    """The files that are left out, as one clause; empty if there are none."""
    text = ", ".join(f"{count} {kind}" for kind, count in sorted(left_out.items()))
    heic = {".heic", ".heif"} & left_out.keys()
    return f"left out: {text}" + ("; for HEIC: pip install pillow-heif" if heic else "") if text else ""
