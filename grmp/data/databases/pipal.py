"""PIPAL, the part with public labels: 200 references, 23,200 distorted images, Elo ratings."""

import re
from pathlib import PurePosixPath

import pandas as pd

from grmp.data.databases._entry import Database, Files, Name, Scores
from grmp.data.databases._mirrors import NEW, pyiqa, pyiqa_table, waterloo, waterloo_list
from grmp.data.databases._readers import mirror_list, mirror_table

LIST = waterloo_list("PIPAL", NEW, "2caebc5f3a7e02ce6744dbcd705ea96fc7b929d8c0d0db010c3c56c895c2b64c")


def train_label(files: Files) -> pd.DataFrame:
    """Train_Label: one file of ``<name>,<elo>`` lines per reference."""
    labels = sorted(path for name, path in files.items() if re.fullmatch(r"a\d{4}\.txt", name))
    parts = [pd.read_csv(path, header=None, names=["name", "mos"]) for path in labels or [files["a0001.txt"]]]
    return pd.concat(parts, ignore_index=True)


def mirror_train_part(files: Files) -> pd.DataFrame:
    """The mirror's table lists the validation part as well."""
    table = mirror_table(files)
    return table[table["set"] == "train"].drop(columns="set") if "set" in table else table


def parse(path: str) -> Name:
    """``A0001_02_05.bmp``; the types have numbers only."""
    image = PurePosixPath(path).name
    reference, kind, _ = image.removesuffix(".bmp").split("_")
    return Name(image, reference, f"type {kind}")


PIPAL = Database(
    "pipal",
    "PIPAL (Perceptual Image Processing ALgorithms), public part",
    kind="synthetic",
    scores=Scores(23200, 916.7136, 1835.9856, 1448.9595867, 121.5025006),
    sources=(pyiqa("pipal.tar", 6_000_000_000, pyiqa_table("PIPAL")), waterloo("PIPAL", 6_000_000_000, LIST)),
    readers=(train_label, mirror_list, mirror_train_part),
    parse=parse,
    pixels="288x288",
    disk=8_000_000_000,
    page="https://www.jasongt.com/projectpages/pipal.html",
    by_hand="download Train_Ref, Distortion_1 to Distortion_4 and Train_Label from the page into one folder",
    terms="Research use only.",
    citation="J. Gu et al.: PIPAL: a large-scale image quality assessment dataset for perceptual image restoration. "
    "ECCV 2020.",
)
