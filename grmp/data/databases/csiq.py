"""CSIQ: 30 references, 866 distorted images of six types, DMOS from 0 to 1."""

from pathlib import PurePosixPath

import pandas as pd

from grmp.data.databases._entry import Database, Files, Name, Scores
from grmp.data.databases._mirrors import official, pyiqa, pyiqa_table
from grmp.data.databases._readers import mirror_list, mirror_table_without_sets, workbook

TYPES = {  # as the workbook names them -> as the image files do
    "noise": "AWGN",
    "blur": "BLUR",
    "contrast": "contrast",
    "fnoise": "fnoise",
    "jpeg": "JPEG",
    "jpeg 2000": "jpeg2000",
}


def official_workbook(files: Files) -> pd.DataFrame:
    """``csiq.DMOS.xlsx``, one row per image."""
    t = workbook(files["csiq.dmos.xlsx"], "image", "dst_type", "dst_lev", "dmos_std", "dmos")
    kind = t["dst_type"].astype(str).str.strip().map(lambda k: TYPES.get(k, k))
    names = t["image"].astype(str) + "." + kind + "." + t["dst_lev"].astype(int).astype(str) + ".png"
    return pd.DataFrame({"name": names, "mos": t["dmos"], "mos_std": t["dmos_std"]})


def parse(path: str) -> Name:
    """``1600.AWGN.1.png``; copies differ in the letter case of the type."""
    reference, kind, level, _ = PurePosixPath(path).name.rsplit(".", 3)
    kind = {k.lower(): k for k in TYPES.values()}[kind.lower().replace("_", "").replace(" ", "")]
    return Name(f"{reference}.{kind}.{level}.png", reference, kind.lower(), level)


TABLE = pyiqa_table("CSIQ")
CSIQ = Database(
    "csiq",
    "Categorical Subjective Image Quality (CSIQ)",
    kind="synthetic",
    scores=Scores(866, 0.0, 1.0, 0.3507443, 0.2625294, higher_better=False),
    sources=(  # the mirror first: the official server has been reported to stall
        pyiqa("csiq.tgz", 379_062_485, TABLE, "e34c372c98e751c5490dadeb536e37666296b6c4f651df30cc04c0547ffee5b0"),
        official(
            "https://s2.smu.edu/~eclarson/csiq/",
            **{"dst_imgs.zip": 370_000_000, "src_imgs.zip": 13_000_000, "csiq.DMOS.xlsx": 100_000},
        ),
    ),
    readers=(official_workbook, mirror_list, mirror_table_without_sets),
    parse=parse,
    side=512,
    disk=800_000_000,
    pixels="512x512",
    page="https://s2.smu.edu/~eclarson/csiq.html",
    by_hand="download csiq/dst_imgs.zip, csiq/src_imgs.zip and csiq/csiq.DMOS.xlsx from the page into one folder",
    terms="Public for research; cite the paper.",
    citation="E. C. Larson, D. M. Chandler: Most apparent distortion: full-reference image quality assessment and the role "
    "of strategy. Journal of Electronic Imaging 19(1), 2010.",
)
