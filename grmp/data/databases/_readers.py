"""Readers that several databases share, and helpers for the formats of score files."""

import fnmatch
from pathlib import Path

import numpy as np
import pandas as pd

from grmp.data.databases._entry import Absent, Files
from grmp.errors import UserError


def workbook(path: Path, *columns: str) -> pd.DataFrame:
    """Rows of the first sheet that has a header row with all ``columns`` (lower case)."""
    from openpyxl import load_workbook

    for sheet in load_workbook(path, data_only=True):
        rows = sheet.iter_rows(values_only=True)
        for row in rows:
            header = [str(cell).strip().lower() for cell in row]
            if set(columns) <= set(header):
                places = [header.index(name) for name in columns]
                return pd.DataFrame(
                    [[r[i] for i in places] for r in rows if r[places[0]] is not None], columns=list(columns)
                )
    raise UserError(f"{path} has no columns {', '.join(columns)}; get the official file")


def matlab(path: Path, name: str) -> np.ndarray:
    """A variable of a .mat file, flat: (N,) float64, or (N,) str for a cell array."""
    from scipy.io import loadmat

    value = loadmat(path, variable_names=[name])[name].ravel()
    if value.dtype == object:
        return np.array([str(np.asarray(cell).ravel()[0]) for cell in value])
    return value.astype(np.float64)


def mean_of_votes(table: pd.DataFrame) -> pd.Series:
    """MOS from the counts or shares ``c1`` to ``c5`` of the five answers."""
    return sum((i * table[f"c{i}"] for i in range(1, 6)), start=pd.Series(0.0, index=table.index))


def mirror_list(files: Files) -> pd.DataFrame:
    """The Waterloo mirror's lists: ``dis_img_path,dis_type[,ref_img_path],score``."""
    for path in files.values():
        if path.suffix == ".txt" and path.read_text(errors="replace").startswith("dis_img_path,"):
            names = {"dis_img_path": "name", "score": "mos", "ref_img_path": "reference"}
            return pd.read_csv(path).rename(columns=names).drop(columns="dis_type")
    raise Absent("a .txt of dis_img_path")


def mirror_table(files: Files) -> pd.DataFrame:
    """The IQA-PyTorch mirror's ``meta_info_<Name>Dataset.csv``, whose columns differ from database to database."""
    pattern = "meta_info_*.csv"
    path = files[next(iter(fnmatch.filter(files, pattern)), pattern)]
    raw = pd.read_csv(path, low_memory=False)
    raw.columns = raw.columns.astype(str).str.strip().str.lower()
    wanted = {
        "name": ("dist_name", "img_name", "image name", "img_name/patch_name", "name"),
        "mos": ("mos", "dmos", "elo_score"),
        "mos_std": ("std", "sd"),
        "reference": ("ref_name", "hq_name"),
        "set": ("official_split", "split", "set"),
    }
    columns = {target: next((name for name in names if name in raw), None) for target, names in wanted.items()}
    table = pd.DataFrame({target: raw[name] for target, name in columns.items() if name})
    if {"c1", "c5"} <= set(raw):
        table["mos"] = mean_of_votes(raw)
    if not {"name", "mos"} <= set(table):
        raise UserError(f"{path} has no known column of names or scores; get the official score file")
    return table.astype({"name": str})


def mirror_table_without_sets(files: Files) -> pd.DataFrame:
    """The same where the column of splits is the mirror's own, not the publisher's."""
    return mirror_table(files).drop(columns="set", errors="ignore")
