"""What a CLIP is given of a prepared database: its images, or what its frozen stem makes of them.

A stem takes ten times as long as the transformer behind it, and nothing in front of it is ever trained. Its features of the
centre crop are therefore computed once, for every method, split, epoch and prompt. In training, too, a CLIP with a stem sees
an image's centre crop, not flipped (departure 12 has no effect then).
"""

import mmap
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
from grmp.device import cpus, tf32
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
    images = dataset.info["sha256"][array.name], backbone.shape.image_size
    computed = code_digest("grmp.clip.stem_cache"), torch.__version__, backbone.device.type, tf32()
    key = [*images, convolutions, *computed]
    path = root / "data/stem" / dataset.name / f"{array.stem}-{sha256_of(key)[:16]}.npy"
    if not path.is_file():
        with lock(root, f"stem-{dataset.name}"):
            if not path.is_file():
                for old in path.parent.glob(f"{array.stem}-*.npy"):
                    old.unlink()
                _compute(path, dataset.images, backbone)
    return _open(path)


_opened: list[mmap.mmap] = []


@cache  # the same object at every call: feature caches are keyed by its id
def _open(path: Path) -> np.ndarray:
    found: np.memmap = np.load(path, mmap_mode="r")
    assert isinstance(found.base, mmap.mmap)
    _opened.append(found.base)
    return found


def forget() -> None:
    """Give mapped features back to the system: it would count what earlier runs read as memory of the next one."""
    for mapped in _opened:
        mapped.madvise(mmap.MADV_DONTNEED)


def in_memory(dataset: Dataset, backbone: Backbone) -> Dataset:
    """A dataset that is not stored, with the features of the stem, if there is one, in place of its images."""
    if not backbone.shape.stem:
        return dataset
    found = np.empty(_shape(dataset.images, backbone), np.float32)
    _fill(found, dataset.images, backbone)
    return replace(dataset, images=found)


def _compute(path: Path, images: np.ndarray, backbone: Backbone) -> None:
    with whole(path) as beside:
        found = np.lib.format.open_memmap(beside, mode="w+", dtype=np.float32, shape=_shape(images, backbone))
        allocate(beside)
        _fill(found, images, backbone)
        found.flush()


def _shape(images: np.ndarray, backbone: Backbone) -> tuple[int, ...]:
    cells = backbone.shape.image_size // stem.CELL
    return len(images), stem.CHANNELS, cells, cells


def _fill(found: np.ndarray, images: np.ndarray, backbone: Backbone) -> None:
    """Write the features of the images to ``found``."""
    # one at a time on a CPU: a third faster than in batches, and an image's features do not depend on its neighbours
    on_cpu, size = backbone.device.type == "cpu", backbone.shape.image_size
    batch = 1 if on_cpu else 64

    @torch.no_grad()
    def one(start: int) -> None:
        rows = range(start, min(start + batch, len(images)))
        x = crop(images, centre(rows, spare(images, size)), size).to(backbone.device)
        found[start : start + batch] = stem.features(backbone.weights, pixels(x, backbone.shape)).cpu()

    # one thread for each image: all runs read these features, whatever their number of threads
    starts, workers, threads = range(0, len(images), batch), cpus() if on_cpu else 1, torch.get_num_threads()
    try:
        with ThreadPoolExecutor(workers, initializer=torch.set_num_threads, initargs=(1,)) as pool:
            done = pool.map(one, starts)
            list(tqdm(done, "features of the stem", len(starts), unit="image", unit_scale=batch, disable=None))
    finally:
        torch.set_num_threads(threads)  # for threads that start later
