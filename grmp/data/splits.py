"""Seeded 80/20 splits with nested shots, written to files that anyone can check.

One row a picture, one column a split: ``test``, or the rank in that split's training order. The K shots of a
split are the ranks below K, so 50 shots are inside 100 are inside 200.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from grmp.data.dataset import source_ids
from grmp.data.labels import training_pictures
from grmp.errors import UserError
from grmp.files import write_text

TEST = "test"
VALIDATION = "validation"


def draw(units: np.ndarray, test: float, rng: np.random.Generator) -> np.ndarray:
    """One split: rank in the training order of each picture, -1 on the test side.

    ``units`` (N,) are integers; pictures of one unit (a source picture, or the picture itself) stay on one side. Units are
    drawn until the test side holds at least the share ``test``.
    """
    order, sizes = rng.permutation(units.max() + 1), np.bincount(units)
    taken = np.searchsorted(np.cumsum(sizes[order]), test * len(units)) + 1
    train = np.flatnonzero(~np.isin(units, order[:taken]))
    ranks = np.full(len(units), -1)
    ranks[rng.permutation(train)] = np.arange(len(train))
    return ranks


def make(
    index: pd.DataFrame, path: Path, count: int, test: float, seed: int, by: str, left_out: Sequence[str] = ()
) -> None:
    """Write ``count`` splits of a prepared index; ``by`` reference (where there are references) or image.

    The pictures ``left_out`` are not in the file, so that it is the same whether a copy of the database holds them or not.
    """
    index = index[~index["image"].isin(left_out)].reset_index(drop=True)
    units = source_ids(index) if by == "reference" else pd.factorize(index["image"], sort=True)[0]
    table = pd.DataFrame({"image": index["image"]})
    for number in range(count):
        ranks = draw(units, test, np.random.default_rng([seed, number]))
        table[f"split_{number}"] = np.where(ranks < 0, TEST, ranks.astype(str))
    write_text(path, table.to_csv(index=False, lineterminator="\n"))


def make_official(table: pd.DataFrame, path: Path, seed: int) -> bool:
    """Write the publisher's own split as a file of one split; False where there is none (``set`` is empty).

    Its training part is ranked in a seeded order; its validation part is on neither side (``validation``).
    """
    parts = table["set"].replace({"train": "training", "val": VALIDATION})
    train = np.flatnonzero(parts == "training")
    if not len(train) or not parts.isin(["training", VALIDATION, TEST]).all():
        return False
    column = parts.to_numpy(object, copy=True)
    column[np.random.default_rng(seed).permutation(train)] = np.arange(len(train)).astype(str)
    official = pd.DataFrame({"image": table["image"], "split_0": column})
    write_text(path, official.to_csv(index=False, lineterminator="\n"))
    return True


@dataclass(frozen=True)
class Splits:
    """Splits of one prepared database, as row positions."""

    ranks: np.ndarray  # (splits, N): rank in the training order, -1 on the test side, -2 on neither

    @property
    def count(self) -> int:
        """How many splits there are."""
        return len(self.ranks)

    def train(self, split: int, shots: int | str | None) -> np.ndarray:
        """Rows of the training side in their order: the first ``shots`` of them, such a share ("20pct"), or all."""
        rows = np.flatnonzero(self.ranks[split] >= 0)
        if isinstance(shots, str):
            shots = max(1, round(len(rows) * int(shots.removesuffix("pct")) / 100))
        return rows[np.argsort(self.ranks[split][rows])][:shots]

    def whole(self, count: int) -> "Splits":
        """As many splits whose test side is every picture that is on a side here: the target of a cross-database run."""
        return Splits(np.tile(np.where(self.ranks[0] == -2, -2, -1), (count, 1)))

    def learned(self) -> "Splits":
        """As many splits whose test side is the training side here: the pictures that a teacher scores for its student."""
        return Splits(np.where(self.ranks >= 0, -1, -2))

    def test(self, split: int) -> np.ndarray:
        """Rows of the test side, in the index's order."""
        return np.flatnonzero(self.ranks[split] == -1)


def load(path: Path, images: pd.Series) -> Splits:
    """The splits in ``path``, for a prepared index whose names are ``images``.

    Raises
    ------
    UserError
        If the file is missing, damaged, or made for other pictures.
    """
    stage = f"dvc repro prepare@{path.parent.name}"
    try:
        table = pd.read_csv(path, dtype=str)
        columns = table.filter(regex=r"^split_\d+$").replace({TEST: "-1", VALIDATION: "-2"})
        ranks = columns.astype(int).to_numpy().T
    except FileNotFoundError:
        raise UserError(f"{path} not found; make it with: {stage}") from None
    except ValueError as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())}); make it again with: {stage}") from None
    left_out = images.isin(training_pictures(path.parent.name, images)).to_numpy()
    named = list(table["image"]) if "image" in table else []
    if not len(ranks) or named not in (list(images), list(images[~left_out])):
        raise UserError(f"{path} is not about the prepared pictures; make it again with: {stage}")
    sides = np.full((len(ranks), len(images)), -2)
    sides[:, images.isin(named)] = ranks
    return Splits(sides)
