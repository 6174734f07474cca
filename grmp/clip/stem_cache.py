"""What a CLIP is given of a prepared database: its images, or what its frozen stem makes of them.

A stem takes ten times as long as the transformer behind it, and nothing in front of it is ever trained. Its features of the
centre crop are therefore computed once, for every method, split, epoch and prompt. In training, too, a CLIP with a stem sees
an image's centre crop, not flipped (departure 12 has no effect then).
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import torch
from tqdm import tqdm

from grmp.clip import stem
from grmp.clip.checkpoints import digest
from grmp.clip.model import Backbone, pixels
from grmp.code import code_digest
from grmp.data.crops import centre, crop, spare
from grmp.data.dataset import Dataset
from grmp.device import cpus
from grmp.files import allocate, sha256_of, whole
from grmp.locks import lock


def inputs(root: Path, dataset: Dataset, backbone: Backbone) -> np.ndarray:
    """(N, 3, S, S) uint8, or the stem's features (N, 896, S / 32, S / 32) float32; both memory-mapped.

    Features are kept in ``data/stem`` of the pipeline folder; one process computes them, others wait for it.
    """
    if not backbone.shape.stem or dataset.images.shape[1] == stem.CHANNELS:
        return dataset.images
    assert isinstance(dataset.images, np.memmap)  # a user's own images are features already (``in_memory``)
    array = Path(str(dataset.images.filename))
    convolutions = digest({n: t for n, t in backbone.weights.items() if n.startswith(stem.PREFIX)}, {})
    # not the pixel statistics of the settings, which differ between protocols: a stem has its own
    key = [
        dataset.info["sha256"][array.name],
        convolutions,
        backbone.shape.image_size,
        code_digest("grmp.clip.stem_cache"),
    ]
    path = root / "data/stem" / dataset.name / f"{array.stem}-{sha256_of(key)[:16]}.npy"
    if not path.is_file():
        with lock(root, f"stem-{dataset.name}"):
            if not path.is_file():
                for old in path.parent.glob(f"{array.stem}-*.npy"):
                    old.unlink()
                _compute(path, dataset.images, backbone)
    return _open(path)


@cache  # the same object at every call: feature caches are keyed by its id
def _open(path: Path) -> np.ndarray:
    return np.load(path, mmap_mode="r")


def in_memory(dataset: Dataset, backbone: Backbone) -> Dataset:
    """A dataset that is not stored, with the features of the stem, if there is one, in place of its images."""
    if not backbone.shape.stem:
        return dataset
    return replace(dataset, images=np.concatenate(list(_features(dataset.images, backbone))))


def _compute(path: Path, images: np.ndarray, backbone: Backbone) -> None:
    cells = backbone.shape.image_size // stem.CELL
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole(path) as beside:
        shape = (len(images), stem.CHANNELS, cells, cells)
        found = np.lib.format.open_memmap(beside, mode="w+", dtype=np.float32, shape=shape)
        allocate(beside)
        start = 0
        for part in _features(images, backbone):
            found[start : start + len(part)] = part
            start += len(part)
        found.flush()


def _features(images: np.ndarray, backbone: Backbone) -> Iterator[np.ndarray]:
    # one at a time on a CPU: a third faster than in batches, and an image's features do not depend on its neighbours
    on_cpu, size = backbone.device.type == "cpu", backbone.shape.image_size
    batch = 1 if on_cpu else 64

    @torch.no_grad()
    def of(start: int) -> np.ndarray:
        rows = range(start, min(start + batch, len(images)))
        x = crop(images, centre(rows, spare(images, size)), size).to(backbone.device)
        found: np.ndarray = stem.features(backbone.weights, pixels(x, backbone.shape)).cpu().numpy()
        return found

    # other processes that need these features wait for them
    workers = max(1, cpus() // torch.get_num_threads()) if on_cpu else 1
    with ThreadPoolExecutor(workers) as pool:
        starts, step = (
            range(0, len(images), batch),
            16 * workers if on_cpu else 1,
        )  # few features at a time are in memory
        some = (starts[i : i + step] for i in range(0, len(starts), step))
        found = (part for each in some for part in pool.map(of, each))
        yield from tqdm(found, "features of the stem", len(starts), unit="image", unit_scale=batch, disable=None)
