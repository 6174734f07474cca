"""SPAQ: 11,125 photographs of smartphones, MOS from 0 to 100. Copies with resized images exist and are not this database."""

import pandas as pd

from grmp.data.databases._entry import Database, Files, Scores
from grmp.data.databases._mirrors import NEW, pyiqa, pyiqa_table, waterloo, waterloo_list
from grmp.data.databases._readers import mirror_list, mirror_table_without_sets, workbook

LIST = waterloo_list("SPAQ", NEW, "93b0ddea09c47a5fe122ca2b16cad29640dd23ebc1ec37eafda54471330c1711")


def official_workbook(files: Files) -> pd.DataFrame:
    """``MOS and Image attribute scores.xlsx``."""
    table = workbook(files["mos and image attribute scores.xlsx"], "image name", "mos")
    return table.rename(columns={"image name": "name"})


SPAQ = Database(
    "spaq",
    "Smartphone Photography Attribute and Quality (SPAQ)",
    kind="authentic",
    scores=Scores(11125, 2.0, 96.0, 50.3178885, 20.9013556),
    sources=(pyiqa("spaq.tgz", 34_800_000_000, pyiqa_table("SPAQ")), waterloo("SPAQ", 35_000_000_000, LIST)),
    readers=(official_workbook, mirror_list, mirror_table_without_sets),
    side=1000,
    disk=36_000_000_000,
    page="https://github.com/h4nwei/SPAQ",
    by_hand="download TestImage and Annotations through the page's Baidu or Google Drive links",
    terms="Research use only.",
    citation="Y. Fang, H. Zhu, Y. Zeng, K. Ma, Z. Wang: Perceptual quality assessment of smartphone photography. "
    "CVPR 2020.",
)
