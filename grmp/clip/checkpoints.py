"""Checkpoints of the backbone and of prompts: safetensors files whose metadata says what they contain."""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import safe_open
from safetensors.torch import save as to_bytes

from grmp.clip.model import Backbone, Shape, Tensors, random_prompts
from grmp.errors import UserError, reading
from grmp.files import sha256, whole

if TYPE_CHECKING:
    from grmp.params import Prompts

KEY, DIGEST = "grmp", "digest"
PATH = Path("models/backbone.safetensors")


def save(path: Path, tensors: Tensors, metadata: dict[str, Any]) -> None:
    """Write tensors and plain metadata; the file appears complete or not at all, and equal content has equal bytes."""
    contiguous = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
    metadata = metadata | {DIGEST: digest(contiguous, metadata)}
    # under one key: safetensors writes several in an order that changes from run to run
    content = to_bytes(contiguous, {KEY: json.dumps(metadata, sort_keys=True)})
    with whole(path) as beside:  # safetensors' save_file leaves a stray file when killed, readable by its owner only
        beside.write_bytes(content)


def digest(tensors: Tensors, metadata: dict[str, Any]) -> str:
    """sha256 of tensors with their names, types and shapes, and of metadata."""
    found = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode())
    for name, tensor in sorted(tensors.items()):
        found.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        found.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def read(
    path: Path, remedy: str, first: str = "delete it, then ", only_metadata: bool = False
) -> tuple[Tensors, dict[str, Any]]:
    """Tensors (none if ``only_metadata``) and metadata of a checkpoint.

    Raises UserError if it is missing or corrupt; the message ends with ``remedy``, preceded by ``first`` for a corrupt
    file.
    """
    if not path.is_file():
        raise UserError(f"{path} not found; {remedy}")
    with reading(path, first + remedy), safe_open(path, framework="pt") as file:
        metadata = json.loads((file.metadata() or {}).get(KEY, "{}"))
        if not isinstance(metadata, dict):
            raise ValueError("its metadata is not a table")
        stated = metadata.pop(DIGEST, None)  # the files of the package have none: index.json holds theirs
        tensors = {name: file.get_tensor(name) for name in ([] if only_metadata else file.keys())}
        if stated and not only_metadata and stated != digest(tensors, metadata):
            raise ValueError("its content does not have the digest that was written with it")
        return tensors, metadata


def load(root: Path, device: torch.device | str = "cpu", normalize: str = "", only_metadata: bool = False) -> Backbone:
    """The backbone of a pipeline folder.

    Raises UserError if it is missing, corrupt, or something else.

    Parameters
    ----------
    normalize
        Pixel statistics to use instead of the backbone's own (departure 16).
    only_metadata
        Leave out the weights: shape and digest are enough to check prompts against.
    """
    path = root / PATH
    weights, metadata = read(path, "make it with: dvc repro backbone", only_metadata=only_metadata)
    try:
        shape = Shape(**metadata["config"] | ({"normalize": normalize} if normalize else {}))
    except (KeyError, TypeError):
        raise UserError(f"{path} is not a backbone of this project; delete it, then: dvc repro backbone") from None
    return Backbone(weights, shape, sha256(path)).to(device)


def joined(prompts: Sequence[Tensors]) -> Tensors:
    """Prompts of several runs in one file: ``1/ctx`` is ctx of the second; those of the first keep their names."""
    return {f"{run}/{n}" if run else n: t for run, tensors in enumerate(prompts) for n, t in tensors.items()}


def load_prompts(root: Path, variant: str, backbone: Backbone, wanted: "Prompts") -> list[Tensors]:
    """Pre-trained prompts, one a run, checked against the backbone that they were trained on and the shapes asked for.

    Raises UserError if the checkpoint is missing, corrupt, of another backbone, or a tensor does not fit.
    """
    path = root / "models/prompts" / f"{variant}.safetensors"
    tensors, metadata = read(path, f"make it with: grmp pretrain {variant}")
    first = {n: t for n, t in tensors.items() if "/" not in n}
    remedy = f"train them again: grmp pretrain {variant}"
    if metadata.get("backbone") != backbone.sha256:
        raise UserError(f"{path} was trained on another backbone than {root / PATH}; {remedy}")
    p, generator = wanted, torch.Generator().manual_seed(0)
    # the LayerNorm after the last block belongs to the prompts as they were trained (departure 17)
    norm = "layer" if "visual.prompt_norm.weight" in first else "identity"
    once = random_prompts(backbone.shape, p.visual_tokens, p.visual_layers, p.text_tokens, norm, generator)
    runs = max(1, len(tensors) // len(once))
    expected = joined([once] * runs)
    for name in sorted(tensors.keys() | expected.keys()):
        found, asked = (" x ".join(map(str, t[name].shape)) if name in t else "absent" for t in (tensors, expected))
        if found != asked:
            raise UserError(
                f"{path} does not fit params.yaml and the backbone: {name} is {found}, expected {asked}; {remedy}, or if "
                "the method changes prompts.* itself, let it start from random prompts"
            )
    return [first, *({n: tensors[f"{run}/{n}"] for n in first} for run in range(1, runs))]
