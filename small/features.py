"""Stem features of photographs and of their distorted versions, computed once: training then reads tokens, not pixels.

    clean.npy      (views, N, 49, 896) float16   view 0 the centre crop, the others random crops, flipped half the time
    teacher.npy    (N, 1000) float16             ImageNet logits of the whole EfficientNet-Lite0, centre crop
    versions.npy   (M, 7, 49, 896) float16       a photograph and six distorted versions of it, one crop
    levels.npy     (M, 7, 8) int8                levels of the eight kinds of distortion

Every file grows in order and is resumed where it stopped (its ``.done`` file counts).
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from grmp.clip import stem
from grmp.files import write_text
from small import lite
from small.photographs import (
    KINDS,
    SIDE,
    SIZE,
    VERSIONS,
    Photographs,
    biq2021,
    distort,
    draw_versions,
    read,
    shrink,
)

TOKENS = (SIZE // stem.CELL) ** 2
VIEWS = 3
DISTORTED = 4000  # photographs with distorted versions
BATCH = 28
_MARGIN = SIDE - SIZE


class Stem:
    """The stem in the fastest arithmetic of this machine: bfloat16 where the CPU has it, channels last."""

    def __init__(self, tensors: dict[str, Tensor]) -> None:  # noqa: D107
        fast = torch.cuda.is_available() or torch.ops.mkldnn._is_mkldnn_bf16_supported()
        self.dtype = torch.bfloat16 if fast else torch.float32
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.tensors = {n: self._own(t) for n, t in tensors.items()}

    def _own(self, t: Tensor) -> Tensor:
        t = t.to(self.device, self.dtype)
        return t.contiguous(memory_format=torch.channels_last) if t.ndim == 4 else t

    @torch.inference_mode()
    def __call__(self, crops: np.ndarray) -> Tensor:
        """(B, 224, 224, 3) uint8 -> (B, 896, 7, 7) float32."""
        x = lite.pixels(torch.from_numpy(crops).to(self.device).permute(0, 3, 1, 2))
        return stem.features(self.tensors, self._own(x)).float().contiguous()


def crop(image: np.ndarray, rng: np.random.Generator | None) -> np.ndarray:
    """(244, 244, 3) -> (224, 224, 3): the centre, or a random place, flipped half the time."""
    if rng is None:
        return image[_MARGIN // 2 : _MARGIN // 2 + SIZE, _MARGIN // 2 : _MARGIN // 2 + SIZE]
    top, left = rng.integers(0, _MARGIN + 1, 2)
    part = image[top : top + SIZE, left : left + SIZE]
    return part[:, ::-1] if rng.random() < 0.5 else part


def tokens(grid: Tensor) -> np.ndarray:
    """(B, 896, 7, 7) -> (B, 49, 896) float16."""
    return grid.flatten(2).mT.half().cpu().numpy()


def array(path: Path, shape: tuple[int, ...], dtype: str) -> np.memmap:
    """A memory-mapped array of this shape, made if it does not exist."""
    if path.exists():
        existing = np.load(path, mmap_mode="r+")
        if existing.shape == shape:
            return existing
        raise SystemExit(f"error: {path} is of shape {existing.shape}, not {shape}; delete it and its .done file")
    return np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=shape)


def resume(path: Path, count: int, step: int, what: str) -> Iterator[slice]:
    """The slices that are not computed yet; each counts as done, and has to be on disk, when the next one is asked for."""
    receipt = path.with_suffix(".done")
    done = int(receipt.read_text()) if receipt.exists() else 0
    with tqdm(total=count, initial=done, desc=what, unit="photo", mininterval=5) as bar:
        for start in range(done, count, step):
            end = min(start + step, count)
            yield slice(start, end)
            write_text(receipt, str(end))
            bar.update(end - start)


def clean(photographs: Photographs, cache: Path, view: int, network: lite.Lite, apply: Callable) -> None:
    """One view of every photograph."""
    count = len(photographs.paths)
    features = array(cache / f"clean{view}.npy", (count, TOKENS, stem.CHANNELS), "float16")
    teacher = array(cache / "teacher.npy", (count, 1000), "float16") if view == 0 else None
    for part in resume(cache / f"clean{view}.npy", count, BATCH, f"photographs, view {view}"):
        rows = range(part.start, part.stop)
        rngs = [None if view == 0 else np.random.default_rng([view, row]) for row in rows]
        crops = [crop(shrink(read(photographs.paths[row])), rng) for row, rng in zip(rows, rngs, strict=True)]
        grid = apply(np.stack(crops))
        features[part] = tokens(grid)
        features.flush()
        if teacher is not None:
            teacher[part] = network.classify(grid).half().cpu().numpy()
            teacher.flush()


def versions(photographs: Photographs, cache: Path, count: int, apply: Callable) -> None:
    """Distorted versions of the first ``count`` photographs."""
    features = array(cache / "versions.npy", (count, VERSIONS, TOKENS, stem.CHANNELS), "float16")
    levels = array(cache / "levels.npy", (count, VERSIONS, len(KINDS)), "int8")
    step = BATCH // VERSIONS
    for part in resume(cache / "versions.npy", count, step, "distorted versions"):
        crops = []
        for row in range(part.start, part.stop):
            rng = np.random.default_rng([100, row])
            drawn, place = draw_versions(rng), int(rng.integers(2**31))
            levels[row], image = drawn.levels(), read(photographs.paths[row])
            for done in drawn.done:
                made = image
                for kind, level in done.items():
                    made = distort(made, kind, level, rng)
                crops.append(crop(shrink(np.ascontiguousarray(made)), np.random.default_rng(place)))
        features[part] = tokens(apply(np.stack(crops))).reshape(-1, VERSIONS, TOKENS, stem.CHANNELS)
        features.flush()
        levels.flush()


def compute(folder: Path, cache: Path, weights: Path | None = None) -> None:
    """Everything that training reads."""
    cache.mkdir(parents=True, exist_ok=True)
    photographs, network = biq2021(folder, "train"), lite.load(weights)
    apply = Stem(network.stem)
    clean(photographs, cache, 0, network, apply)
    versions(photographs, cache, DISTORTED, apply)
    for view in range(1, VIEWS):
        clean(photographs, cache, view, network, apply)
