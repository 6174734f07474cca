"""TID2013: 25 references, 3,000 distorted images (24 types x 5 levels), MOS from 0 to 9."""

from pathlib import PurePosixPath

import numpy as np
import pandas as pd

from grmp.data.databases._entry import Database, Files, Name, Scores, numbered
from grmp.data.databases._mirrors import OLD, pyiqa, pyiqa_table, waterloo, waterloo_list
from grmp.data.databases._readers import mirror_list, mirror_table_without_sets

TYPES = numbered(
    "additive noise,color noise,correlated noise,masked noise,high frequency noise,impulse noise,quantization noise,"
    "gaussian blur,denoising,jpeg,jpeg2000,jpeg transmission errors,jpeg2000 transmission errors,pattern noise,"
    "block distortions,mean shift,contrast,saturation,multiplicative noise,comfort noise,lossy compression of noise,"
    "color quantization,chromatic aberrations,sparse sampling"
)
LIST = waterloo_list("TID2013", OLD, "39a2e1caad3e47dadf049f9b0c2301cadbf5d54fcfbd867cc2e675185bbe4101")


def mos_with_names(files: Files) -> pd.DataFrame:
    """``<mos> <name>`` per line, and the standard deviations in the same order in mos_std.txt."""
    columns = {"mos": float, "name": str}
    table = pd.read_csv(files["mos_with_names.txt"], sep=r"\s+", header=None, names=list(columns), dtype=columns)
    if "mos_std.txt" in files:
        std = [float(x) for x in files["mos_std.txt"].read_text().split()]
        table["mos_std"] = std if len(std) == len(table) else np.nan
    return table


def parse(path: str) -> Name:
    """``i01_08_3.bmp``; the publisher mixes upper and lower case (``I04_..``, ``.BMP``), names here are lower case."""
    image = PurePosixPath(path).name.lower()
    reference, kind, level = image.removesuffix(".bmp").split("_")
    return Name(image, reference, TYPES[int(kind) - 1], level)


TID2013 = Database(
    "tid2013",
    "Tampere Image Database 2013",
    kind="synthetic",
    scores=Scores(3000, 0.24242, 7.2143, 4.4746576, 1.2396735),
    sources=(
        pyiqa("tid2013.tgz", 1_230_000_000, pyiqa_table("TID2013")),
        waterloo("TID2013", 1_800_000_000, LIST),
    ),
    readers=(mos_with_names, mirror_list, mirror_table_without_sets),
    parse=parse,
    side=384,
    distortions=TYPES,
    disk=2_000_000_000,
    pixels="512x384",
    page="http://www.ponomarenko.info/tid2013.htm",
    by_hand="the official archive is a .rar, which Python cannot unpack: unpack it yourself and give the folder",
    terms="Free for research and education without fee, with the notice and citation; do not modify the database.",
    citation="N. Ponomarenko et al.: Image database TID2013: peculiarities, results and perspectives. Signal Processing: "
    "Image Communication 30, 2015.",
)
