"""What to rate: images of a folder that differ, and those on which the folds of a cross-validation disagree."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from grmp.data import duplicates
from grmp.data.custom import locate
from grmp.data.dataset import COLUMNS, Dataset
from grmp.data.decode import read_images
from grmp.data.find import find, for_table, printable, tally
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.files import claim, write_text
from grmp.finetune.scorer import load
from grmp.use.settings import DEFAULT

BATCH = 64  # images in memory at a time
MOST = 200  # unrated images that are looked at; each fold scores them
SHOWN = 5  # of them


def select(folder: Path, out: Path, count: int, seed: int) -> tuple[list[str], list[str]]:
    """Write a table of ``count`` images below a folder to the file ``out``; returns their names, and lines about it.

    The table has ``image`` (relative to the folder), ``duplicates`` (how many other images are nearly like it, and are
    therefore not chosen) and ``mos`` (last, empty, to be filled in), in the order of choice.

    Raises UserError if the folder has no or too few images, or the table exists: it may hold ratings.
    """
    paths = find([folder], left_out := Counter[str]())  # before the folder of the table is made
    if out.exists():
        raise UserError(f"{out} exists and may hold ratings; move it away or name another file with -o")
    if out.resolve().parent != folder.resolve():
        raise UserError(f"{out} would not lie above its images; name a file in {folder}")
    claim(out)
    embeddings, quality, tiny, unread = look(paths)
    known = [path for path in paths if path not in unread]
    group = duplicates.groups(tiny)
    _, first, sizes = np.unique(group, return_index=True, return_counts=True)
    if count > len(first):
        raise UserError(f"{folder} has {len(first)} different images; choose -n {len(first)} or fewer")
    rows = first[choose(embeddings[first], quality[first], count, seed)]
    names = for_table([known[i].relative_to(folder).as_posix() for i in rows])
    alike = sizes[group[rows]] - 1
    table = pd.DataFrame({"image": names, "duplicates": alike, "mos": ""})
    write_text(out, table.to_csv(index=False, lineterminator="\n"))
    lines = [f"{printable(path)}: {why}" for path, why in unread.items()]
    lines += [f"{out}: {count} of {len(known)} images; {alike.sum()} others are nearly like one of them"]
    lines += filter(None, [tally(left_out)])
    page = f"rate them with: grmp rate {folder}, or " if out.name == "ratings.csv" else ""
    return names, [*lines, f"{page}fill in the column mos"]


def choose(embeddings: np.ndarray, quality: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows that k-means++ draws as its centres (Arthur and Vassilvitskii, SODA 2007): each far from those before it.

    Embeddings (N, E) and quality (N,) have the same say, whatever their spread.
    """
    from sklearn.cluster import kmeans_plusplus

    parts = [x - x.mean(axis=0) for x in (embeddings, quality[:, None])]
    spread = [np.sqrt((x**2).sum(axis=1).mean()) or 1.0 for x in parts]
    x = np.hstack([part / one for part, one in zip(parts, spread, strict=True)])
    return np.asarray(kmeans_plusplus(x, count, random_state=seed)[1])


def look(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[Path, str]]:
    """Of the images that can be read embeddings (N, E), zero-shot quality (N,) and thumbnails; and why others cannot."""
    model = load(DEFAULT, choose_device("auto", 1))
    found, tiny, unread = [], [], dict[Path, str]()
    for start in tqdm(range(0, len(paths), BATCH), "look", unit="image", unit_scale=BATCH, disable=None):
        read, wrong = read_images(paths[start : start + BATCH], model.card["size"], model.card["aspect"])
        unread |= wrong
        if read:
            images = np.stack(list(read.values()))
            tiny += [i.reshape(3, i.shape[1] // 4, 4, i.shape[2] // 4, 4).mean((2, 4)).astype(np.uint8) for i in images]
            found.append(model.clip.map(model.clip.image, images, np.arange(len(images))).numpy())
    if not found:
        raise UserError(f"none of the {len(paths)} images can be read; the first: {next(iter(unread.values()))}")
    embeddings = np.concatenate(found)
    return embeddings, embeddings @ (model.text[0] - model.text[1]).cpu().numpy(), np.stack(tiny), unread


def unrated(table: Path, rated: Dataset, size: int, aspect: str, seed: int) -> Dataset | None:
    """At most ``MOST`` readable images below the table's folder that are not in it, or None; a seeded draw."""
    known = {path.resolve() for path in locate(table, rated.index["image"].tolist())}
    try:
        paths = [path for path in find([table.parent]) if path.resolve() not in known]
    except UserError:  # the rated images lie elsewhere
        return None
    drawn = [paths[i] for i in sorted(np.random.default_rng(seed).permutation(len(paths))[:MOST])]
    good, _ = read_images(drawn, size, aspect, "read others")
    if not good:
        return None
    names = [path.relative_to(table.parent).as_posix() for path in good]
    index = pd.DataFrame({"image": names, "quality": 0.0}).reindex(columns=COLUMNS)
    return Dataset(rated.name, index, np.stack(list(good.values())), {})
