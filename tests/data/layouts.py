"""Miniature copies of every database in its official and mirror layouts, from the real score lists.

Names, counts, references and scores are the real ones; pictures are a few small generated ones, the same bytes over and over.
"""

import io
import subprocess
import tarfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
from openpyxl import Workbook
from PIL import Image
from scipy.io import loadmat, savemat

from grmp.data.databases.csiq import TYPES as CSIQ_TYPES
from grmp.data.databases.live import FOLDERS as LIVE_FOLDERS

LISTS = {
    "live": "LIVE",
    "csiq": "CSIQ",
    "tid2013": "TID2013",
    "kadid10k": "KADID-10k",
    "koniq10k": "KonIQ-10k",
    "livec": "LIVE_Challenge",
    "spaq": "SPAQ",
    "pipal": "PIPAL",
}
LIVEC = "real/clive/ChallengeDB_release/Data"
FORMATS = {".bmp": "BMP", ".jpg": "JPEG", ".png": "PNG"}
Tree = dict[str, bytes]  # relative path -> content


def picture(ending: str, number: int = 0, size: tuple[int, int] = (10, 8)) -> bytes:
    """A small picture; ``number`` picks one of a few."""
    rng = np.random.default_rng(number)
    out = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3), np.uint8)).save(out, FORMATS[ending.lower()])
    return out.getvalue()


PICTURES = {(ending, n): picture(ending, n) for ending in FORMATS for n in range(7)}


def pictures(paths: list[str]) -> Tree:
    return {path: PICTURES[path[-4:].lower(), i % 7] for i, path in enumerate(paths)}


def real(shared: Path, name: str) -> pd.DataFrame:
    """The Waterloo list of a database, or FLIVE's own label file as one."""
    if name == "flive":
        t = pd.read_csv(shared / "real/scores/flive_labels_image.csv")
        return pd.DataFrame({"dis_img_path": "FLIVE/" + t["name"], "score": t["mos"]})
    return pd.read_csv(shared / f"real/scores/lists/{LISTS[name]}.txt", dtype={"dis_img_path": str})


def file(path: str) -> str:
    return path.rpartition("/")[2]


def rated(*rows: str) -> bytes:
    """scores.csv of a simulated database."""
    return "\n".join(["image,mos,mos_std,reference,distortion,level", *rows, ""]).encode()


def csv(table: pd.DataFrame) -> bytes:
    return table.to_csv(index=False).encode()


def sheet(rows: list[list[object]], above: int = 0) -> bytes:
    book, out = Workbook(), io.BytesIO()
    for row in [[None, "notes"]] * above + rows:
        book.active.append(row)
    book.save(out)
    return out.getvalue()


def mat(**values: object) -> bytes:
    out = io.BytesIO()
    savemat(out, values)
    return out.getvalue()


def cells(names: list[str], column: bool = True) -> np.ndarray:
    out = np.empty((len(names), 1) if column else (1, len(names)), dtype=object)
    out.ravel()[:] = names
    return out


# ------------------------------------------------------------------------------------------------------ official layouts


def live(shared: Path, refnames: bool = True) -> dict[str, Tree | bytes]:
    """The archive of the form, whose dmos.mat is not realigned, and the realigned scores, a download of their own.

    With ``refnames`` False as a copy whose refnames and orgs have 779 entries: info.txt names the references.
    """
    t, root = real(shared, "live"), "databaserelease2/"
    known = {p.removeprefix("LIVE/"): file(r) for p, r in zip(t["dis_img_path"], t["ref_img_path"], strict=True)}
    scores = dict(zip(known, t["score"], strict=True))
    names = [f"{folder}/img{i}.bmp" for folder, count in LIVE_FOLDERS.items() for i in range(1, count + 1)]
    original = np.array([n not in known for n in names])
    dmos = np.array([scores.get(n, 0.0) for n in names])
    tree = pictures([root + n for n in names] + [f"{root}refimgs/{r}" for r in sorted(set(known.values()))])
    for folder in LIVE_FOLDERS:
        lines = [f"{known.get(n, 'bikes.bmp')} {file(n)} 0.5" for n in names if n.startswith(folder)]
        tree[f"{root}{folder}/info.txt"] = "\n".join(lines).encode()
    references = [known.get(n, "bikes.bmp") for n in names]
    if not refnames:
        references = sorted(known.values())
    orgs = original.astype(np.uint8) if refnames else np.zeros(779, np.uint8)
    std = np.where(original, 0.0, 5.0)
    realigned = mat(dmos_new=dmos[None], dmos_std=std[None], orgs=orgs[None])
    tree[root + "dmos.mat"] = mat(dmos=dmos[None] * 0.8, orgs=original.astype(np.uint8)[None])
    tree[root + "refnames_all.mat"] = mat(refnames_all=cells(references, column=not refnames))
    return {"databaserelease2.zip": tree, "dmos_realigned.mat": realigned}


def live_mirror(shared: Path) -> tuple[Tree, bytes]:
    """What mirrors pack is the archive of the form; the entry adds the realigned list."""
    return live(shared)["databaserelease2.zip"], (shared / "real/scores/lists/LIVE.txt").read_bytes()


def csiq(shared: Path) -> dict[str, Tree | bytes]:
    """Three files of the official page."""
    t = real(shared, "csiq")
    names = [p.removeprefix("CSIQ/") for p in t["dis_img_path"]]
    back = {v.lower(): k for k, v in CSIQ_TYPES.items()}
    rows: list[list[object]] = [["image", "dst_idx", "dst_type", "dst_lev", "dmos_std", "dmos"]]
    for name, score in zip(names, t["score"], strict=True):
        reference, kind, level, _ = file(name).rsplit(".", 3)
        rows.append(
            [int(reference) if reference.isdigit() else reference, 1, back[kind.lower()], int(level), 0.1, score]
        )
    return {
        "dst_imgs.zip": pictures([n.replace("/AWGN/", "/awgn/") for n in names]),
        "src_imgs.zip": pictures([p.removeprefix("CSIQ/") for p in sorted(set(t["ref_img_path"]))]),
        "csiq.DMOS.xlsx": sheet(rows, above=3),
    }


def tid2013(shared: Path) -> Tree:
    """The unpacked .rar; letter case mixed as it is in the original."""
    t = pd.read_csv(shared / "real/scores/tid2013_tasks.csv")
    lines = [f"{9 * score:.5f} {name}" for score, name in zip(t["dmos"], t["image"], strict=True)]
    tree = pictures([f"tid2013/distorted_images/{n}" for n in t["image"]])
    tree |= pictures(
        [f"tid2013/reference_images/I{i:02}.BMP" for i in range(1, 25)] + ["tid2013/reference_images/i25.bmp"]
    )
    std = "\n".join(["0.2"] * len(t))
    return tree | {"tid2013/mos_with_names.txt": "\n".join(lines).encode(), "tid2013/mos_std.txt": std.encode()}


def kadid10k(shared: Path) -> Tree:
    t = pd.read_csv(shared / "real/scores/kadid10k_tasks.csv")
    scores = t.rename(columns={"image": "dist_img", "reference": "ref_img"})[["dist_img", "ref_img", "dmos"]].assign(
        var=0.25
    )
    names = [*t["image"], *sorted(set(t["reference"]))]
    return pictures([f"kadid10k/images/{n}" for n in names]) | {"kadid10k/dmos.csv": csv(scores)}


def koniq10k(shared: Path) -> dict[str, Tree]:
    """Pictures, and the score file on the two scales."""
    t = pd.read_csv(shared / "real/scores/koniq10k_distributions_sets.csv", dtype={"image_name": str})
    mos = sum(i * t[f"c{i}"] for i in range(1, 6)).round(12)
    scores = t.drop(columns=["set"]).assign(MOS=mos, MOS_zscore=t["MOS"])
    return {
        "koniq10k_1024x768.zip": pictures([f"1024x768/{n}" for n in t["image_name"]]),
        "koniq10k_scores_and_distributions.zip": {"koniq10k_scores_and_distributions.csv": csv(scores)},
    }


def livec(shared: Path) -> Tree:
    """All 1,162 names with generated pictures, the real score files."""
    root, names = "ChallengeDB_release/", release(shared)["img_name"]
    tree = pictures([f"{root}Images/{'trainingImages/' if n[0] == 't' else ''}{n}" for n in names])
    return tree | {f"{root}Data/{p.name}": p.read_bytes() for p in (shared / LIVEC).iterdir()}


def release(shared: Path) -> pd.DataFrame:
    """``img_name, mos, std`` of LIVE Challenge, from its .mat files; the first 7 images trained the raters."""
    keys = ("AllImages_release", "AllMOS_release", "AllStdDev_release")
    names, mos, std = (loadmat(shared / LIVEC / f"{key}.mat")[key].ravel() for key in keys)
    return pd.DataFrame({"img_name": [str(cell[0]) for cell in names], "mos": mos, "std": std})


def spaq(shared: Path) -> Tree:
    t = real(shared, "spaq")
    names = [file(p) for p in t["dis_img_path"]]
    rows: list[list[object]] = [["Image name", "MOS", "Brightness"]]
    rows += [[n, s, 50.0] for n, s in zip(names, t["score"], strict=True)]
    tree = pictures([f"SPAQ/TestImage/{n}" for n in names])
    tree["SPAQ/Annotations/Scene category labels.xlsx"] = sheet([["Image name", "Animal"]])
    return tree | {"SPAQ/Annotations/MOS and Image attribute scores.xlsx": sheet(rows)}


def flive(shared: Path) -> Tree:
    t = pd.read_csv(shared / "real/scores/flive_labels_image.csv")
    tree = pictures([f"FLIVE_Database/database/{n}" for n in t["name"]])
    tree |= pictures(["FLIVE_Database/database/patches/blur_dataset/motion0044_patch_1.jpg"])
    return tree | {"FLIVE_Database/database/labels_image.csv": csv(t)}


def pipal(shared: Path) -> Tree:
    t = real(shared, "pipal")
    tree = pictures([*t["dis_img_path"], *sorted(set(t["ref_img_path"]))])
    lines = t["dis_img_path"].map(file) + "," + t["score"].astype(str)
    for reference, part in lines.groupby(t["ref_img_path"]):
        tree[f"PIPAL/Train_Label/{file(reference).replace('.bmp', '.txt')}"] = "\n".join(part).encode()
    return tree


# ----------------------------------------------------------------------------------------------------------- the mirrors


def waterloo(shared: Path, name: str) -> tuple[Tree, bytes]:
    """``<Name>.tar`` and its list."""
    t = real(shared, name)
    references = sorted(set(t["ref_img_path"])) if "ref_img_path" in t else []
    scores = (shared / f"real/scores/lists/{LISTS[name]}.txt").read_bytes()
    return pictures([*t["dis_img_path"], *references]), scores


def meta(shared: Path, name: str) -> tuple[Tree, bytes]:
    """An archive of pictures alone, and the IQA-PyTorch mirror's list, whose columns differ from database to database."""
    t = real(shared, name)
    names, score = t["dis_img_path"].map(file), t["score"]
    if name == "csiq":
        made = pd.DataFrame({"ref_name": t["ref_img_path"].map(file), "dist_name": names, "dmos": score})
        return pictures([f"CSIQ/dst_imgs/{n}" for n in names]), csv(made)
    if name == "koniq10k":
        k = pd.read_csv(shared / "real/scores/koniq10k_distributions_sets.csv")
        made = k.rename(columns={"image_name": "img_name", "MOS": "mos", "SD": "std", "set": "official_split"})
        tree = {f"koniq10k/512x384/{n}": PICTURES[".jpg", 0] for n in names}  # the smaller copies lie beside
        return tree | {f"koniq10k/1024x768/{n}": PICTURES[".jpg", 1] for n in names}, csv(made)
    if name == "livec":
        return {k: v for k, v in livec(shared).items() if "/Data/" not in k}, csv(release(shared))
    if name == "spaq":
        return pictures([f"SPAQ/TestImage/{n}" for n in names]), csv(pd.DataFrame({"Image name": names, "MOS": score}))
    if name == "flive":
        whole = t["dis_img_path"].str.removeprefix("FLIVE/")
        made = pd.DataFrame(
            {"img_name/patch_name": [*whole, "patches/a/b_patch_1.jpg"], "mos": [*score, 50.0], "split": 0}
        )
        return pictures([f"FLIVE_Database/database/{n}" for n in whole]), csv(made)
    if name == "pipal":
        hq = names.str.partition("_")[0] + ".bmp"
        made = pd.DataFrame({"hq_name": hq, "dist_name": names, "elo_score": score, "official_split": "train"})
        made.loc[len(made)] = ["A0005.bmp", "A0005_10_00.bmp", 1400.0, "val"]
        return pictures([f"PIPAL/Dist_Imgs/{n}" for n in names]), csv(made)
    score_name = {"kadid10k": "dmos"}.get(name, "mos")
    made = pd.DataFrame({"ref_name": t["ref_img_path"].map(file), "dist_name": names, score_name: score, "std": 0.2})
    folder = {"tid2013": "tid2013/distorted_images", "kadid10k": "kadid10k/images"}[name]
    return pictures([f"{folder}/{n}" for n in names]), csv(made)


# -------------------------------------------------------------------------------------------------------------- archives


def pack(tree: Tree, path: Path) -> Path:
    """A zip, tar or tgz, by the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".zip":
        path.write_bytes(pack_bytes(tree))
    else:
        with tarfile.open(path, "w" if path.suffix == ".tar" else "w:gz") as archive:
            for name, content in tree.items():
                member = tarfile.TarInfo(name)
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return path


def pack_bytes(tree: Tree) -> bytes:
    """A zip in memory."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, content in tree.items():
            archive.writestr(name, content)
    return out.getvalue()


def unpack(tree: Tree, folder: Path) -> Path:
    for name, content in tree.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def commit(tree: Tree, folder: Path) -> list[str]:
    """Make ``folder`` a git repository of one commit; the ids of the commit and of its tree."""
    git = ["git", "-C", str(unpack(tree, folder)), "-c", "user.name=a", "-c", "user.email=a@b"]
    for words in ("init -q", "add -A", "commit -qm all"):
        subprocess.run([*git, *words.split()], check=True, capture_output=True)
    done = subprocess.run([*git, "rev-parse", "HEAD", "HEAD^{tree}"], check=True, capture_output=True, text=True)
    return done.stdout.split()
