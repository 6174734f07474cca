"""Readers of score files, official and mirrored: each finds its file and gives ``name, mos`` and what else the file tells.

That is any of ``mos_std, reference, distortion, level, set``. A reader whose file is not there returns None.
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from grmp.data import mat
from grmp.data.names import CSIQ_TYPES
from grmp.errors import UserError

Files = dict[str, Path]  # lower-case file name -> where it is; the shortest path where there are several
Reader = Callable[[Files], pd.DataFrame | None]

LIVE_FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}  # the order of the 982 scores


def _sheet(path: Path, *needed: str) -> pd.DataFrame:
    """Rows below the first one, in any sheet, that names all ``needed`` columns."""
    from openpyxl import load_workbook

    for sheet in load_workbook(path, data_only=True):
        rows = sheet.iter_rows(values_only=True)
        for row in rows:
            heads = [str(cell).strip().lower() for cell in row]
            if all(n in heads for n in needed):
                first = [heads.index(n) for n in needed]
                body = [[r[i] for i in first] for r in rows if r[first[0]] is not None]
                return pd.DataFrame(body, columns=list(needed))
    raise UserError(f"{path} has no columns {', '.join(needed)}; is this the official file?")


def live(files: Files) -> pd.DataFrame | None:
    """LIVE: realigned DMOS of 982 pictures, of which the copies of references are dropped.

    ``orgs`` and the reference names are read only where they have 982 entries: copies with 779, in another order, go round.
    """
    if "dmos_realigned.mat" not in files:
        return None
    names = [f"{folder}/img{i}.bmp" for folder, count in LIVE_FOLDERS.items() for i in range(1, count + 1)]
    score, std, original = mat.read(files["dmos_realigned.mat"], "dmos_new", "dmos_std", "orgs")
    if len(score) != len(names):
        raise UserError(
            f"{files['dmos_realigned.mat']} has {len(score)} scores, not {len(names)}; get the official file"
        )
    if len(original) != len(names):
        original = (score == 0) & (std == 0)
    table = pd.DataFrame({"name": names, "mos": score, "mos_std": std})
    cells = mat.read(files["refnames_all.mat"], "refnames_all")[0] if "refnames_all.mat" in files else ()
    if len(cells) == len(names):
        table["reference"] = cells
    else:
        table["reference"] = table["name"].map(_live_info(files["dmos_realigned.mat"].parent))
    if table["reference"].isna().any():
        raise UserError(
            f"{files['dmos_realigned.mat'].parent}: neither refnames_all.mat (982 names) nor info.txt name all references"
        )
    table["distortion"] = table["name"].str.partition("/")[0]
    return table[original == 0]


def _live_info(folder: Path) -> dict[str, str]:
    """Reference of each picture by the folders' info.txt: ``<reference> <picture> <parameter>``."""
    lines = [(p.parent.name, line.split()) for p in folder.rglob("info.txt") for line in p.read_text().splitlines()]
    return {f"{kind}/{words[1]}": words[0] for kind, words in lines if len(words) > 1}


def csiq(files: Files) -> pd.DataFrame | None:
    """CSIQ's workbook: one row a picture, found by its heads."""
    if "csiq.dmos.xlsx" not in files:
        return None
    t = _sheet(files["csiq.dmos.xlsx"], "image", "dst_type", "dst_lev", "dmos_std", "dmos")
    kind = t["dst_type"].astype(str).str.strip().map(lambda k: CSIQ_TYPES.get(k, k))
    names = t["image"].astype(str) + "." + kind + "." + t["dst_lev"].astype(int).astype(str) + ".png"
    return pd.DataFrame({"name": names, "mos": t["dmos"], "mos_std": t["dmos_std"]})


def csiq_label(files: Files) -> pd.DataFrame | None:
    """``<name> <dmos>``, as a mirror has it."""
    return _words(files.get("csiq_label.txt"), ["name", "mos"])


def tid2013(files: Files) -> pd.DataFrame | None:
    """``<mos> <name>``, and the standard deviations line by line beside it."""
    table = _words(files.get("mos_with_names.txt"), ["mos", "name"])
    if table is not None and "mos_std.txt" in files:
        std = [float(x) for x in files["mos_std.txt"].read_text().split()]
        table["mos_std"] = std if len(std) == len(table) else np.nan
    return table


def _words(path: Path | None, columns: list[str]) -> pd.DataFrame | None:
    return None if path is None else pd.read_csv(path, sep=r"\s+", header=None, names=columns, dtype={"name": str})


def kadid10k(files: Files) -> pd.DataFrame | None:
    """``dist_img,ref_img,dmos,var``. The column says dmos; the values are MOS."""
    if "dmos.csv" not in files:
        return None
    t = pd.read_csv(files["dmos.csv"])
    return pd.DataFrame(
        {"name": t["dist_img"], "mos": t["dmos"], "mos_std": np.sqrt(t["var"]) if "var" in t else np.nan}
    )


def koniq10k(files: Files) -> pd.DataFrame | None:
    """MOS on the 1-5 scale, as the published method takes it (``MOS_zscore`` is the other)."""
    if "koniq10k_scores_and_distributions.csv" not in files:
        return None
    t = pd.read_csv(files["koniq10k_scores_and_distributions.csv"], dtype={"image_name": str})
    return pd.DataFrame({"name": t["image_name"], "mos": t["MOS"], "mos_std": t["SD"]})


def koniq10k_sets(files: Files) -> pd.DataFrame | None:
    """Its MOS column is the z-score one; the 1-5 MOS is the mean of the distribution beside it (equal to 6e-12)."""
    if "koniq10k_distributions_sets.csv" not in files:
        return None
    t = pd.read_csv(files["koniq10k_distributions_sets.csv"], dtype={"image_name": str})
    return pd.DataFrame({"name": t["image_name"], "mos": _mean_of_votes(t), "mos_std": t["SD"], "set": t["set"]})


def _mean_of_votes(t: pd.DataFrame) -> pd.Series:
    return sum((i * t[f"c{i}"] for i in range(1, 6)), start=pd.Series(0.0, index=t.index))


def livec(files: Files) -> pd.DataFrame | None:
    """Three .mat files; the first 7 rows are the training pictures t1.bmp to t7.bmp."""
    if "allmos_release.mat" not in files:
        return None
    for needed in ("allimages_release.mat", "allstddev_release.mat"):
        if needed not in files:
            raise UserError(f"{files['allmos_release.mat'].parent}: {needed} is missing; get the whole Data folder")
    (names,) = mat.read(files["allimages_release.mat"], "AllImages_release")
    (mos,) = mat.read(files["allmos_release.mat"], "AllMOS_release")
    (std,) = mat.read(files["allstddev_release.mat"], "AllStdDev_release")
    return pd.DataFrame({"name": names, "mos": mos, "mos_std": std})


def spaq(files: Files) -> pd.DataFrame | None:
    """The workbook of opinions and attributes."""
    if "mos and image attribute scores.xlsx" not in files:
        return None
    t = _sheet(files["mos and image attribute scores.xlsx"], "image name", "mos")
    return t.rename(columns={"image name": "name"})


def flive(files: Files) -> pd.DataFrame | None:
    """``name,mos`` of the whole pictures."""
    return pd.read_csv(files["labels_image.csv"]) if "labels_image.csv" in files else None


def pipal(files: Files) -> pd.DataFrame | None:
    """One ``<name>,<elo>`` file a reference picture."""
    labels = sorted(path for name, path in files.items() if re.fullmatch(r"a\d{4}\.txt", name))
    parts = [pd.read_csv(path, header=None, names=["name", "mos"]) for path in labels]
    return pd.concat(parts, ignore_index=True) if parts else None


def waterloo(files: Files) -> pd.DataFrame | None:
    """The Waterloo mirror's lists: ``dis_img_path,dis_type[,ref_img_path],score``."""
    for path in files.values():
        if path.suffix != ".txt":
            continue
        with path.open(errors="replace") as file:
            first = file.readline()
        if first.startswith("dis_img_path,"):
            t = pd.read_csv(path)
            table = pd.DataFrame({"name": t["dis_img_path"], "mos": t["score"]})
            if "ref_img_path" in t:
                table["reference"] = t["ref_img_path"]
            return table
    return None


def meta(files: Files) -> pd.DataFrame | None:
    """The IQA-PyTorch mirror's ``meta_info_<Name>Dataset.csv``; its columns differ from database to database."""
    found = [path for name, path in files.items() if name.startswith("meta_info_") and name.endswith(".csv")]
    if not found:
        return None
    t = pd.read_csv(found[0], low_memory=False)
    heads = {str(c).strip().lower(): c for c in t.columns}

    def column(*names: str) -> Any:
        return next((t[heads[n]] for n in names if n in heads), None)

    name = column("dist_name", "img_name", "image name", "img_name/patch_name", "name")
    score = _mean_of_votes(t) if {"c1", "c5"} <= heads.keys() else column("mos", "dmos", "elo_score")
    if name is None or score is None:
        raise UserError(f"{found[0]} has no column of names or scores that is known; get the official score file")
    table = pd.DataFrame({"name": name.astype(str), "mos": score})
    for target, source in (("mos_std", column("std", "sd")), ("reference", column("ref_name", "hq_name"))):
        if source is not None:
            table[target] = source
    if found[0].name.lower().startswith("meta_info_koniq") and (sets := column("split", "set")) is not None:
        table["set"] = sets
    if "pipal" in found[0].name.lower() and "official_split" in heads:  # the mirror adds the validation part
        table = table[t["official_split"] == "train"]
    if "flive" in found[0].name.lower():  # and here the patches
        table = table[~table["name"].str.contains("patch")]
    return table


def table(files: Files) -> pd.DataFrame | None:
    """The simulated databases' own ``scores.csv``."""
    if "scores.csv" not in files:
        return None
    return pd.read_csv(files["scores.csv"], dtype={"reference": str}).rename(columns={"image": "name"})


READERS: dict[str, Reader] = {
    "live": live,
    "csiq": csiq,
    "csiq_label": csiq_label,
    "tid2013": tid2013,
    "kadid10k": kadid10k,
    "koniq10k": koniq10k,
    "koniq10k_sets": koniq10k_sets,
    "livec": livec,
    "spaq": spaq,
    "flive": flive,
    "pipal": pipal,
    "list": waterloo,
    "meta": meta,
    "table": table,
}
