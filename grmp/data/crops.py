"""Crops, flips and batches of training images, each drawn from a seed of its own."""

import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from grmp.device import free_bytes

if TYPE_CHECKING:
    from grmp.params import Adapt

Crop = tuple[int, int, int, bool]  # row of the image in the array, top, left, flipped
# (N, 3, S, S) uint8, or features of a stem, which have more channels (grmp/clip/stem_cache.py): memory-mapped, or on a GPU
Images = np.ndarray | Tensor


def place(images: np.ndarray, device: torch.device) -> Images:
    """The memory-mapped array itself on a CPU; on a GPU a copy there, if it fits into half of the free memory."""
    if device.type == "cpu" or images.nbytes > free_bytes(device) / 2:
        return images
    return torch.from_numpy(np.array(images)).to(device)  # a copy: torch does not accept read-only memory


def cropped(images: Images) -> bool:
    """Whether these are images, and not features of a stem, which are neither cropped nor flipped."""
    return images.shape[1] == 3


def spare(images: Images, size: int) -> int:
    """Difference between the sides of images and crops in pixels."""
    return images.shape[-1] - size if cropped(images) else 0


def crop(images: Images, crops: Sequence[Crop], size: int) -> Tensor:
    """(N, 3, S, S) uint8, crops -> (B, 3, size, size) uint8, on the device of the images; of features the rows alone."""
    if not cropped(images):
        return torch.as_tensor(images[[c[0] for c in crops]])
    if isinstance(images, Tensor):
        rows, tops, lefts, flips = (torch.tensor(v, device=images.device)[:, None] for v in zip(*crops, strict=True))
        along = torch.arange(size, device=images.device)
        y, x = tops + along, lefts + torch.where(flips, size - 1 - along, along)  # (B, size)
        return images[rows[:, :, None], :, y[:, :, None], x[:, None]].movedim(-1, 1)
    views = [images[r, :, y : y + size, x : x + size] for r, y, x, _ in crops]
    return torch.from_numpy(np.stack([v[:, :, ::-1] if c[3] else v for v, c in zip(views, crops, strict=True)]))


def centre(rows: Iterable[int], margin: int) -> list[Crop]:
    """The crops used for testing; ``margin`` is the difference between image and crop size."""
    return [(int(r), margin // 2, margin // 2, False) for r in rows]


def draw_crops(
    rows: np.ndarray, margin: int, settings: "Adapt", batches: int, epoch: int, batch: int, seed: int
) -> list[Crop]:
    """Crops of a training batch.

    As published (departure 12): one offset for the whole batch, flipped where the column offset is below the middle, from a
    generator seeded with the step number. Otherwise per image, from a generator of its own; with ``views`` > 0 each image
    has that many crops, used in turn.
    """
    if settings.crops == "batch":
        generator = torch.Generator().manual_seed(batches * epoch + batch)
        top, left, _ = torch.randint(max(1, margin), (3,), generator=generator).tolist()
        return [(int(r), top, left, left < margin // 2) for r in rows]
    return per_image(rows, margin, (settings.seed, seed), epoch % settings.views if settings.views else epoch)


def per_image(rows: np.ndarray, margin: int, seed: tuple[int, int], view: int) -> list[Crop]:
    """A random crop of each image, from a generator of its own."""
    return [random_crops([row], margin, np.random.default_rng([*seed, int(row), view]))[0] for row in rows]


def random_crops(rows: Sequence[int] | np.ndarray, margin: int, rng: np.random.Generator) -> list[Crop]:
    """A random crop of each image, all from one generator."""
    draws = rng.integers(0, [margin + 1, margin + 1, 2], size=(len(rows), 3)).tolist()
    return [(int(row), top, left, bool(flip)) for row, (top, left, flip) in zip(rows, draws, strict=True)]


def draw_batches(rows: np.ndarray, settings: "Adapt", rng: np.random.Generator) -> list[np.ndarray]:
    """Shuffled positions into ``rows``; as published the last batch is the remainder (departure 11), else sizes are even."""
    order, size = rng.permutation(len(rows)), settings.batch
    if settings.batches == "even":
        return np.array_split(order, math.ceil(len(rows) / size))
    return [order[i : i + size] for i in range(0, len(rows), size)]
