"""Tasks of meta-training: the images of one distortion type, and the batches that a visit draws from them."""

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from grmp.data import databases
from grmp.data.crops import Images, centre, crop, random_crops, spare
from grmp.data.dataset import source_ids
from grmp.errors import UserError
from grmp.params import Pretrain

Labelled = tuple[np.ndarray, np.ndarray]  # rows (B,) and targets (B,) of a batch


@dataclass(frozen=True)
class Task:
    """The images of one distortion type in one database."""

    distortion: str
    rows: np.ndarray  # positions in the prepared array
    targets: np.ndarray  # quality in [0, 1] on the scale of the database
    groups: np.ndarray  # source image of each row, as integers


def tasks_of(name: str, index: pd.DataFrame) -> list[Task]:
    """One task per distortion type, in sorted order.

    Raises UserError if the database has no distortion labels, or a type has no images, or images of a single source.
    """
    labelled = index[index["distortion"].notna()]
    kinds = sorted(labelled["distortion"].astype(str).unique())
    if not kinds:
        raise UserError(f"{name} has no distortion labels, so it cannot pre-train; choose e.g. tid2013 or kadid10k")
    known = databases.known().get(name)
    for kind in known.distortions if known else ():
        if kind not in kinds:
            raise UserError(f"{name}: distortion '{kind}' has no images; fetch them, then: grmp data prepare {name}")
    tasks = []
    for kind in kinds:
        part = labelled[labelled["distortion"].astype(str) == kind]
        groups = source_ids(part)
        if len(np.unique(groups)) < 2:
            raise UserError(f"{name}: distortion '{kind}' has images of one source only; support and query need two")
        tasks.append(Task(kind, part.index.to_numpy(), part["quality"].to_numpy(np.float32), groups))
    return tasks


def draw(task: Task, settings: Pretrain, rng: np.random.Generator) -> tuple[list[Labelled], list[Labelled]]:
    """Support and query batches of a visit: a fresh split of the task's images.

    ``settings.split_by`` is "image" or "reference" (departure 6), ``settings.label_scale`` "set" (support and query each
    scaled to [0, 1]) or "database" (departure 5).
    """
    units = task.groups if settings.split_by == "reference" else np.arange(len(task.rows))
    order = rng.permutation(np.unique(units))
    chosen = np.isin(units, order[: max(1, min(len(order) - 1, round(settings.support * len(order))))])
    sides = []
    for members, size in (
        (np.flatnonzero(chosen), settings.support_batch),
        (np.flatnonzero(~chosen), settings.query_batch),
    ):
        members = rng.permutation(members)
        targets = task.targets[members]
        if settings.label_scale == "set":
            span = targets.max() - targets.min()
            targets = (targets - targets.min()) / span if span > 0 else np.full_like(targets, 0.5)
        starts = range(0, len(members), size)
        sides.append([(task.rows[members[i : i + size]], targets[i : i + size]) for i in starts])
    support, query = sides
    return support, query


def load(
    images: Images,
    rows: np.ndarray,
    targets: np.ndarray,
    size: int,
    device: torch.device,
    rng: np.random.Generator | None = None,
) -> tuple[Tensor, Tensor]:
    """Images (B, 3, size, size) uint8, or features of a stem, and targets (B,); centre crops without ``rng``."""
    margin = spare(images, size)
    if margin < 0:
        raise UserError(f"images of {images.shape[-1]} pixels are smaller than the backbone's {size}; raise data.size")
    crops = random_crops(rows, margin, rng) if rng else centre(rows, margin)
    return crop(images, crops, size).to(device), torch.from_numpy(np.asarray(targets, np.float32)).to(device)
