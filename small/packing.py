"""Puts the models into the package, in the layout that grmp/clip/shipped.py reads."""

from pathlib import Path
from typing import Any

import torch

from grmp.clip import checkpoints, shipped, stem
from grmp.clip.model import Shape, Tensors
from grmp.files import sha256, write_json


def pack(name: str, shape: Shape, tensors: Tensors, known: torch.Tensor, folder: Path = shipped.FOLDER) -> None:
    """Write a CLIP's files and record their sha256.

    ``tensors`` are a whole CLIP with a stem; ``known`` (N,) are the token ids that the rows of its token embedding stand for.
    """
    write(name, tensors | {shipped.IDS: known.to(torch.int32)}, {"config": vars(shape)}, folder)


def write(name: str, tensors: Tensors, metadata: dict[str, Any], folder: Path = shipped.FOLDER) -> None:
    """Write a model's files, in float16 and the stem (of prompts: none) apart, and record their sha256."""
    half = {n: t.half() if t.is_floating_point() else t for n, t in tensors.items()}
    shared = {n: t for n, t in half.items() if n.startswith(stem.PREFIX)}
    index = shipped.digests(folder) if (folder / "index.json").is_file() else {}
    if shared:
        source = {"source": "EfficientNet-Lite0, ImageNet, Apache-2.0"}
        checkpoints.save(folder / "stem.safetensors", shared, source)
        index["stem"] = sha256(folder / "stem.safetensors")
    checkpoints.save(folder / f"{name}.safetensors", {n: t for n, t in half.items() if n not in shared}, metadata)
    index[name] = sha256(folder / f"{name}.safetensors")
    write_json(folder / "index.json", index)
