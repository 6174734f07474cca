"""FLIVE (PaQ-2-PiQ): 39,810 whole images, MOS from 0 to 100; its patches are not used."""

import pandas as pd

from grmp.data.databases._entry import Database, Files, Scores, folder_and_name
from grmp.data.databases._mirrors import pyiqa, pyiqa_table
from grmp.data.databases._readers import mirror_table_without_sets


def labels_image(files: Files) -> pd.DataFrame:
    """``labels_image.csv``: ``name,mos``."""
    return pd.read_csv(files["labels_image.csv"])


def mirror_without_patches(files: Files) -> pd.DataFrame:
    """The mirror's table lists the patches as well."""
    table = mirror_table_without_sets(files)
    return table[~table["name"].str.contains("patch")]


TABLE = pyiqa_table("FLIVE")
FLIVE = Database(
    "flive",
    "FLIVE (PaQ-2-PiQ), whole images",
    kind="authentic",
    scores=Scores(39810, 0.0, 94.3332343725568, 72.1324650, 6.1623962),
    sources=(
        pyiqa("flive.tgz", 5_414_976_833, TABLE, "85d257ebb00b99ff998e6aa4276be5cbd4762699874f57bcbf3261e441961696"),
    ),
    readers=(labels_image, mirror_without_patches),
    parse=folder_and_name,
    disk=6_500_000_000,
    page="https://github.com/baidut/PaQ-2-PiQ",
    by_hand="follow the page to the images and labels_image.csv",
    terms="CC BY-NC-SA 4.0.",
    citation="Z. Ying et al.: From patches to pictures (PaQ-2-PiQ): mapping the perceptual space of picture quality. "
    "CVPR 2020.",
)
