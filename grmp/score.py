"""Pictures in files and folders -> a table of their quality by a trained model."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from grmp.databases.fetch import listing
from grmp.databases.images import ENDINGS
from grmp.errors import UserError
from grmp.files import write_text
from grmp.model import load
from grmp.sweep import choose_device


def score(file: Path, given: Sequence[Path], out: Path | None, device: str) -> int:
    """Write ``image,quality,mos`` (the latter on the scale of the model's ratings) for all pictures; how many are unreadable.

    Raises
    ------
    UserError
        If there is no such model, file or folder, or no picture in it.
    """
    if device not in ("auto", "cpu", "cuda"):
        raise UserError(f"--device {device}: known are auto, cpu and cuda")
    paths = find(given)
    model = load(file, choose_device(device, os.cpu_count() or 1))
    rows, unread = [], 0
    for path, quality, trouble in tqdm(
        model.judge(paths), desc="score", total=len(paths), unit="picture", disable=None
    ):
        if trouble:
            tqdm.write(f"{path}: {trouble}", file=sys.stderr)
            unread += 1
        rows.append({"image": str(path), "quality": quality})
    table = pd.DataFrame(rows)
    table["mos"] = model.scale.mos(table["quality"].to_numpy(np.float64))
    text = table.to_csv(index=False, float_format="%.6f", lineterminator="\n")
    if out is None:
        print(text, end="")
    else:
        write_text(out, text)
        print(f"{out}: {len(table) - unread} pictures scored")
    return unread


def find(given: Sequence[Path]) -> list[Path]:
    """The files, and the pictures below the folders, each once and in their order.

    Raises
    ------
    UserError
        If something is not there, or a folder holds no picture.
    """
    found: dict[Path, None] = {}
    for path in given:
        if not path.exists():
            raise UserError(f"{path} not found; give pictures, or folders of pictures")
        inside = [path / p for p, _ in listing(path) if p.lower().endswith(ENDINGS)] if path.is_dir() else [path]
        if not inside:
            raise UserError(f"{path} holds no picture ({', '.join(ENDINGS)})")
        found |= dict.fromkeys(inside)
    return list(found)
