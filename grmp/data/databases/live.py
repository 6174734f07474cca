"""LIVE release 2: 29 references, 779 distorted images, realigned DMOS.

The release scores 982 images in the order of ``FOLDERS``; 203 of them are copies of references and are dropped.
"""

from pathlib import Path, PurePosixPath

import pandas as pd

from grmp.data.databases._entry import Database, Files, Name, Scores
from grmp.data.databases._mirrors import OLD, cityu, pyiqa, waterloo, waterloo_list
from grmp.data.databases._readers import matlab, mirror_list
from grmp.errors import UserError

FOLDERS = {"jp2k": 227, "jpeg": 233, "wn": 174, "gblur": 174, "fastfading": 174}
KODAK = (  # found by template matching in the project zensim
    "bikes buildings caps house lighthouse lighthouse2 ocean paintedhouse parrots plane rapids sailing1 sailing2 sailing3 "
    "sailing4 statue stream woman womanhat"
)
# The archives of the mirrors carry dmos.mat, the scores before realignment, so each source brings this list as well.
LIST = waterloo_list("LIVE", OLD, "54236e765401b4f82455f77b98ad56a3e04c128ef7d7bf5a587a08df12216e53")


def realigned(files: Files) -> pd.DataFrame:
    """``dmos_realigned.mat``. Copies of ``orgs`` and ``refnames_all`` with 779 entries, in another order, are ignored."""
    path = files["dmos_realigned.mat"]
    names = [f"{folder}/img{i}.bmp" for folder, count in FOLDERS.items() for i in range(1, count + 1)]
    score, std, original = (matlab(path, key) for key in ("dmos_new", "dmos_std", "orgs"))
    if len(score) != len(names):
        raise UserError(f"{path} has {len(score)} scores, not {len(names)}; get the official file")
    if len(original) != len(names):
        original = (score == 0) & (std == 0)
    table = pd.DataFrame({"name": names, "mos": score, "mos_std": std})
    cells = matlab(files["refnames_all.mat"], "refnames_all") if "refnames_all.mat" in files else ()
    listed = table["name"].map(_references(path.parent))
    table["reference"] = cells if len(cells) == len(names) else listed
    other = table[listed.notna() & (listed != table["reference"])]
    if len(other):
        raise UserError(
            f"{path.parent}: refnames_all.mat and info.txt name different references of {len(other)} images, such as "
            f"{other['name'].iloc[0]}; get the official files"
        )
    if table["reference"].isna().any():
        raise UserError(f"{path.parent}: neither refnames_all.mat (982 names) nor info.txt files name all references")
    return table[original == 0]


def _references(folder: Path) -> dict[str, str]:
    """Image -> reference from the folders' info.txt: ``<reference> <image> <parameter>``."""
    lines = [(p.parent.name, line.split()) for p in folder.rglob("info.txt") for line in p.read_text().splitlines()]
    return {f"{kind}/{words[1]}": words[0] for kind, words in lines if len(words) > 1}


def parse(path: str) -> Name:
    """``jp2k/img1.bmp``."""
    folder, image = PurePosixPath(path).parts[-2:]
    return Name(f"{folder}/{image}", distortion=folder)


LIVE = Database(
    "live",
    "LIVE Image Quality Assessment Database, release 2",
    kind="synthetic",
    scores=Scores(779, -2.6400150164096132, 111.77469352631448, 48.5812464, 27.3221563, higher_better=False),
    sources=(
        pyiqa("live.tgz", 721_190_291, LIST, "0c23e0ba0d503dd7bfc3d5588fc3e94672e381759881e497c41ca814aa4d9d8f"),
        cityu("live.zip", 720_496_542, LIST, "b6188c1014dd5b5537ee2d0b7f676cd14dae8c24a2d8e07692e6a45a73d3ecd9"),
        waterloo("LIVE", 1_200_000_000, LIST),
    ),
    readers=(realigned, mirror_list),
    parse=parse,
    side=480,
    shared={"tid2013": tuple(KODAK.split())},
    disk=1_400_000_000,
    page="http://live.ece.utexas.edu/research/quality/subjective.htm",
    by_hand="request the password of databaserelease2.zip with the form on the page; "
    f"add dmos_realigned.mat or {LIST.url}, because the archive has the scores before realignment only",
    terms="Free use, copy and distribution with the copyright notice and citation (University of Texas at Austin).",
    citation="H. R. Sheikh, M. F. Sabir, A. C. Bovik: A statistical evaluation of recent full reference image quality "
    "assessment algorithms. IEEE TIP 15(11), 2006.",
)
