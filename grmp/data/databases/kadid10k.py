"""KADID-10k: 81 references, 10,125 distorted images (25 types x 5 levels), MOS from 1 to 5."""

from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from grmp.data.databases._entry import Database, Files, Name, Scores, numbered
from grmp.data.databases._mirrors import official, pyiqa, pyiqa_table
from grmp.data.databases._readers import mirror_list, mirror_table_without_sets

TYPES = numbered(
    "gaussian blur,lens blur,motion blur,color diffusion,color shift,color quantization,color saturation hsv,"
    "color saturation lab,jpeg2000,jpeg,white noise,white noise ycbcr,impulse noise,multiplicative noise,denoise,brighten,"
    "darken,mean shift,jitter,non-eccentricity patch,pixelate,quantization,color block,high sharpen,contrast change"
)


def dmos_csv(files: Files) -> pd.DataFrame:
    """``dist_img,ref_img,dmos,var``. The column is called dmos; the values are MOS."""
    t = pd.read_csv(files["dmos.csv"])
    std = np.sqrt(t["var"]) if "var" in t else np.nan
    return pd.DataFrame({"name": t["dist_img"], "mos": t["dmos"], "mos_std": std})


def parse(path: str) -> Name:
    """``I01_08_03.png``."""
    image = PurePosixPath(path).name
    reference, kind, level = image.removesuffix(".png").split("_")
    return Name(image, reference, TYPES[int(kind) - 1], str(int(level)))


KADID10K = Database(
    "kadid10k",
    "KADID-10k (Konstanz Artificially Distorted Image quality Database)",
    kind="synthetic",
    scores=Scores(10125, 1.0, 4.93, 3.0326331, 1.0826262),
    sources=(
        official("https://datasets.vqa.mmsp-kn.de/archives/", **{"kadid10k.zip": 3_070_000_000}),
        pyiqa("kadid10k.tgz", 3_070_000_000, pyiqa_table("KADID10k")),
    ),
    readers=(dmos_csv, mirror_list, mirror_table_without_sets),
    parse=parse,
    side=384,
    distortions=TYPES,
    disk=3_300_000_000,
    pixels="512x384",
    page="https://database.mmsp-kn.de/kadid-10k-database.html",
    by_hand="download kadid10k.zip from the page",
    terms="Free for research; cite the paper.",
    citation="H. Lin, V. Hosu, D. Saupe: KADID-10k: a large-scale artificially distorted IQA database. QoMEX 2019.",
)
