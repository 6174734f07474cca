"""Seeded random splits with nested shots, written to files that anyone can check.

A file has one row per image and one column per split: ``test``, or the image's rank in the training order. The K shots of a
split are the ranks below K, so the 50 shots are among the 100, and those among the 200.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from grmp.data import databases
from grmp.data.dataset import source_ids
from grmp.errors import UserError, reading
from grmp.files import write_text

TEST, VALIDATION = "test", "validation"  # in files; -1 and -2 in ``Splits.ranks``


def ranked(train: np.ndarray, count: int, rng: np.random.Generator | np.random.RandomState) -> np.ndarray:
    """(count,): the place of each of the rows ``train`` in a random order, -1 for other rows."""
    ranks = np.full(count, -1)
    ranks[rng.permutation(train)] = np.arange(len(train))
    return ranks


def draw(sources: np.ndarray, test: float, rng: np.random.Generator) -> np.ndarray:
    """One split: rank of each image in the training order, -1 for test images.

    All images of a source (``sources``, (N,) integers) are on the same side. Sources are drawn until the test side has at
    least the share ``test`` of the images.
    """
    order, sizes = rng.permutation(sources.max() + 1), np.bincount(sources)
    taken = np.searchsorted(np.cumsum(sizes[order]), test * len(sources)) + 1
    return ranked(np.flatnonzero(~np.isin(sources, order[:taken])), len(sources), rng)


def draw_released(order: np.ndarray, count: int, test: float, seed: int) -> Iterator[np.ndarray]:
    """The splits of the released code (finetune.py, main), as ``draw`` returns them; ``order`` (N,) are rows as it counts.

    Its ``choice`` of K images consumes the same random numbers for every K, so one permutation holds all of them.
    """
    rng, order = np.random.RandomState(seed), order.copy()
    for _ in range(count):
        rng.shuffle(order)
        yield ranked(order[: int(len(order) * (1 - test))], len(order), rng)


def make(index: pd.DataFrame, path: Path, count: int, test: float, seed: int, by: str) -> None:
    """Write ``count`` splits of a prepared index: ``by`` reference (where there are references), or by image as released."""
    table = pd.DataFrame({"image": index["image"]})
    if by == "image":
        known = databases.known().get(path.parent.name)
        names = table["image"].tolist()
        order = sorted(range(len(names)), key=lambda row: known.order(names[row]) if known else names[row])
        drawn = draw_released(np.array(order), count, test, seed)
    else:
        sources = source_ids(index)
        drawn = (draw(sources, test, np.random.default_rng([seed, number])) for number in range(count))
    for number, ranks in enumerate(drawn):
        table[f"split_{number}"] = np.where(ranks < 0, TEST, ranks.astype(str))
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def make_official(table: pd.DataFrame, path: Path, seed: int) -> None:
    """Write the publisher's split as a file with one split; no file if there is none (``set`` is empty).

    Training images are ranked in a seeded order; validation images are on neither side.
    """
    parts = table["set"].replace({"train": "training", "val": VALIDATION})
    train = np.flatnonzero(parts == "training")
    if not len(train) or not parts.isin(["training", VALIDATION, TEST]).all():
        path.unlink(missing_ok=True)  # of another source
        return
    column = parts.to_numpy(object, copy=True)
    column[np.random.default_rng(seed).permutation(train)] = np.arange(len(train)).astype(str)
    official = pd.DataFrame({"image": table["image"], "split_0": column})
    write_text(path, official.to_csv(index=False, lineterminator="\n"))


@dataclass(frozen=True)
class Splits:
    """Splits of one prepared database, as row numbers."""

    ranks: np.ndarray  # (splits, N): rank in the training order, -1 for test, -2 for neither

    @property
    def count(self) -> int:
        """How many splits there are."""
        return len(self.ranks)

    def train(self, split: int, shots: int | str | None) -> np.ndarray:
        """Training rows in their order: the first ``shots``, a share of them ("20pct"), or all (None)."""
        rows = np.flatnonzero(self.ranks[split] >= 0)
        if isinstance(shots, str):
            shots = max(1, round(len(rows) * int(shots.removesuffix("pct")) / 100))
        return rows[np.argsort(self.ranks[split][rows])][:shots]

    def test(self, split: int) -> np.ndarray:
        """Test rows, ascending."""
        return np.flatnonzero(self.ranks[split] == -1)

    def whole(self, count: int) -> "Splits":
        """``count`` splits that test on every image that is on a side here: the target of a cross-database run."""
        return Splits(np.tile(np.where(self.ranks[0] == -2, -2, -1), (count, 1)))


def load(path: Path, images: pd.Series) -> Splits:
    """The splits in ``path`` (``data/splits/<database>/<protocol>.csv``) for a prepared index with the names ``images``.

    Raises UserError if the file is missing, corrupt, or belongs to other images.
    """
    remedy = f"run: grmp data prepare {path.parent.name}"
    with reading(path, remedy):
        table = pd.read_csv(path, dtype=str)
        columns = table.filter(regex=r"^split_\d+$").replace({TEST: "-1", VALIDATION: "-2"})
        ranks = columns.astype(int).to_numpy().T
    left_out = images.isin(databases.excluded(path.parent.name, images)).to_numpy()
    names = list(table["image"]) if "image" in table else []
    if not len(ranks) or names not in (list(images), list(images[~left_out])):
        raise UserError(f"{path} does not match the prepared images; {remedy}")
    rows = np.full((len(ranks), len(images)), -2)
    rows[:, images.isin(names)] = ranks
    return Splits(rows)
