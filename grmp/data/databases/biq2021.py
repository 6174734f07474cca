"""BIQ2021: 12,000 photographs, MOS from 0 to 1 given by 30 observers in a laboratory, official split.

The authors keep it in a git repository, so neither form nor password is needed.
"""

import pandas as pd

from grmp.data.databases._entry import Database, File, Files, Scores, Source

REPOSITORY = "https://github.com/nisarahmedrana/BIQ2021"
COMMIT, TREE = "62c7b40c036b68ee280626409699aa5c1a37fe57", "212230b8b166ecf217a7d8f766aff091e7b9625d"


def official_tables(files: Files) -> pd.DataFrame:
    """``Image Name,MOS``, one file per part; the training part has empty columns after them.

    Letter case differs once: the table says ``ss02 (1014).jpg``, the file is ``ss02 (1014).JPG``.
    """
    parts = {"training": "train (images and mos).csv", "test": "test (images and mos).csv"}
    tables = [pd.read_csv(files[file], usecols=["Image Name", "MOS"]).assign(set=part) for part, file in parts.items()]
    return pd.concat(tables, ignore_index=True).rename(columns={"Image Name": "name", "MOS": "mos"})


BIQ2021 = Database(
    "biq2021",
    "BIQ2021",
    kind="authentic",
    scores=Scores(12000, 0.0, 1.0, 0.6434582, 0.1936560),
    sources=(
        Source("authors' repository", (File(f"git+{REPOSITORY}@{COMMIT}", 424_000_000),), TREE),
        Source("authors' repository as an archive", (File(f"{REPOSITORY}/archive/{COMMIT}.zip", 424_000_000),), TREE),
    ),
    readers=(official_tables,),
    disk=430_000_000,
    pixels="512x512",
    page=REPOSITORY,
    by_hand=f"git clone {REPOSITORY}",
    terms='No licence file; the paper says "freely available for use and benchmarking". Subset 1 shows people who can be '
    "recognised. Cite the paper; do not redistribute the images.",
    citation="N. Ahmed, S. Asif, A. R. Khan: BIQ2021: a large-scale blind image quality assessment database. Journal of "
    "Electronic Imaging 31(5), 053010, 2022.",
)
