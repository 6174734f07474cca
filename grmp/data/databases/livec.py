"""LIVE Challenge: 1,162 photographs, MOS from 0 to 100, and 7 images that trained the raters."""

import pandas as pd

from grmp.data.databases._entry import Database, Files, Scores
from grmp.data.databases._mirrors import cityu, pyiqa, pyiqa_table
from grmp.data.databases._readers import matlab, mirror_list, mirror_table_without_sets


def release(files: Files) -> pd.DataFrame:
    """The three .mat files of the folder Data."""
    keys = {"name": "AllImages_release", "mos": "AllMOS_release", "mos_std": "AllStdDev_release"}
    return pd.DataFrame({column: matlab(files[f"{key}.mat".lower()], key) for column, key in keys.items()})


def order(image: str) -> tuple[int, str]:
    """``AllImages_release``: training images, 3.bmp to 532.bmp as a file system sorts names, the others by number."""
    number = image.partition(".")[0]
    return (0, number) if number[0] == "t" else (2, number.zfill(4)) if int(number) > 532 else (1, number + "~")


TABLE = pyiqa_table("LIVEChallenge")
LIVEC = Database(
    "livec",
    "LIVE In the Wild Image Quality Challenge (LIVE Challenge, CLIVE)",
    kind="authentic",
    scores=Scores(1162, 3.42, 92.4319526627219, 55.4013250, 20.2964753),
    sources=(
        pyiqa(
            "live_challenge.tgz", 326_000_000, TABLE, "cdd7a6227de40df10cfd5daf8d19894e95200fa0ca5655bbe50fd433d3b31f25"
        ),
        cityu("livec.zip", 334_612_078, TABLE, "7369492f6c7f6964588776abb9e5e103bdbd7a06e5e2cbbc0c16f64405816d0e"),
    ),
    readers=(release, mirror_list, mirror_table_without_sets),
    order=order,
    side=500,
    exclude=r"t\d+\.bmp",
    disk=600_000_000,
    page="https://live.ece.utexas.edu/research/ChallengeDB/index.html",
    by_hand="request the password of ChallengeDB_release.zip with the form on the page",
    terms="Free use, copy and distribution with the copyright notice and citation (University of Texas at Austin).",
    citation="D. Ghadiyaram, A. C. Bovik: Massive online crowdsourced study of subjective and objective picture quality. "
    "IEEE TIP 25(1), 2016.",
)
