"""``grmp select``: which images of a folder to rate - different in content and in quality, no two nearly alike."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.cluster import kmeans_plusplus
from tqdm import tqdm

from grmp.data import duplicates
from grmp.data.decode import try_image
from grmp.data.find import find, printable
from grmp.device import cpus
from grmp.errors import UserError
from grmp.files import claim, write_text
from grmp.finetune.scorer import load
from grmp.use.settings import DEFAULT

BATCH = 64  # images in memory at a time


def select(folder: Path, count: int, seed: int) -> tuple[pd.DataFrame, int, list[str]]:
    """Choose ``count`` images below a folder.

    Returns
    -------
    DataFrame
        ``image`` (relative to the folder), ``mos`` (last, empty, to be filled in) and ``duplicates``: how many other images are
        nearly like it, and are therefore not chosen; in the order of choice.
    int
        How many images were looked at.
    list of str
        A line for each file that cannot be read.

    Raises UserError if the folder has no or too few images.
    """
    paths = find([folder])
    embeddings, quality, tiny, unread = look(paths)
    known = [path for path in paths if path not in unread]
    group = duplicates.groups(tiny)
    _, first, sizes = np.unique(group, return_index=True, return_counts=True)
    if count > len(first):
        raise UserError(f"{folder} has {len(first)} different images; choose -n {len(first)} or fewer")
    rows = first[choose(embeddings[first], quality[first], count, seed)]
    names = [known[i].relative_to(folder).as_posix() for i in rows]
    alike = sizes[group[rows]] - 1
    table = pd.DataFrame({"image": names, "duplicates": alike, "mos": ""})
    return table, len(known), [f"{printable(path)}: {why}" for path, why in unread.items()]


def choose(embeddings: np.ndarray, quality: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Rows that k-means++ draws as its centres (Arthur and Vassilvitskii, SODA 2007): each far from those before it.

    Parameters
    ----------
    embeddings, quality
        (N, E) and (N,); both have the same say, whatever their spread.
    """
    parts = [x - x.mean(axis=0) for x in (embeddings, quality[:, None])]
    spread = [np.sqrt((x**2).sum(axis=1).mean()) or 1.0 for x in parts]
    x = np.hstack([part / one for part, one in zip(parts, spread, strict=True)])
    return np.asarray(kmeans_plusplus(x, count, random_state=seed)[1])


def look(paths: Sequence[Path]) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict[Path, str]]:
    """Of the images that can be read embeddings (N, E), zero-shot quality (N,) and thumbnails; and why others cannot."""
    model = load(DEFAULT)
    read = partial(try_image, size=model.card["size"], aspect=model.card["aspect"], displayed=True)
    found, tiny, unread = [], [], dict[Path, str]()
    with ThreadPoolExecutor(cpus()) as pool, tqdm(total=len(paths), desc="look", unit="image", disable=None) as bar:
        for start in range(0, len(paths), BATCH):
            some = paths[start : start + BATCH]
            images = list(pool.map(read, some))
            unread |= {path: why for path, why in zip(some, images, strict=True) if isinstance(why, str)}
            good = [image for image in images if not isinstance(image, str)]
            if good:
                tiny += [reduced(image) for image in good]
                found.append(model.clip.map(model.clip.image, np.stack(good), np.arange(len(good))).numpy())
            bar.update(len(some))
    if not found:
        raise UserError(f"none of the {len(paths)} images can be read; the first: {next(iter(unread.values()))}")
    embeddings = np.concatenate(found)
    return embeddings, embeddings @ (model.text[0] - model.text[1]).cpu().numpy(), np.stack(tiny), unread


def reduced(image: np.ndarray) -> np.ndarray:
    """(3, S, S) uint8 -> the same at a quarter of the size, enough to find what looks alike."""
    side = image.shape[-1] // 4 * 4
    blocks = image[:, :side, :side].reshape(3, side // 4, 4, side // 4, 4)
    return blocks.mean(axis=(2, 4)).astype(np.uint8)


def check(folder: Path, out: Path) -> None:
    """See that there are images and the table can be written. Raises UserError if it exists: it may hold ratings."""
    find([folder])  # before the folder of the table is made
    if out.exists():
        raise UserError(f"{out} exists and may hold ratings; move it away or name another file with -o")
    claim(out)


def write(table: pd.DataFrame, out: Path) -> None:
    """The table to fill in."""
    write_text(out, table.to_csv(index=False, lineterminator="\n"))
