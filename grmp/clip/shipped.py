"""The small CLIPs for photographs that come with the package; docs/models.md says what each has seen.

    weights/stem.safetensors      the frozen stem, which all of them share
    weights/<name>.safetensors    everything else of one CLIP; of the token embedding the rows of the words it was trained on
    weights/index.json            sha256 of each file

All tensors are float16 on disk and float32 in memory. A token that a CLIP was not trained on has the mean of the rows
that it knows, so that such a word says nothing.
"""

import hashlib
import json
from pathlib import Path

import torch

from grmp.clip import stem
from grmp.clip.checkpoints import read, save
from grmp.clip.model import Backbone, Shape, Tensors
from grmp.errors import UserError
from grmp.files import sha256, write_json

FOLDER = Path(__file__).parent / "weights"
VOCABULARY = 49_408  # of CLIP's tokenizer
_EMBEDDING, _IDS = "token_embedding.weight", "token_ids"
_REMEDY = "install the package again"


def names() -> list[str]:
    """The models that are shipped."""
    return sorted(set(_index(FOLDER)) - {"stem"})


def load(name: str, folder: Path = FOLDER) -> Backbone:
    """A shipped CLIP.

    Raises
    ------
    UserError
        If there is no such model, or a file is missing, is corrupt or does not have the recorded sha256.
    """
    index = _index(folder)
    if name not in index or name == "stem":
        raise UserError(f"no shipped model '{name}'; choose one of: {', '.join(sorted(set(index) - {'stem'}))}")
    for part in ("stem", name):
        path = folder / f"{part}.safetensors"
        if not path.is_file() or sha256(path) != index[part]:
            raise UserError(f"{path} is missing or corrupt (its sha256 is not {index[part][:12]}...); {_REMEDY}")
    shared, _ = read(folder / "stem.safetensors", _REMEDY, "")
    own, metadata = read(folder / f"{name}.safetensors", _REMEDY, "")
    p = {n: t.float() for n, t in (shared | own).items() if n != _IDS}
    rows, ids = p[_EMBEDDING], own[_IDS].long()
    p[_EMBEDDING] = rows.mean(0).repeat(VOCABULARY, 1)
    p[_EMBEDDING][ids] = rows
    digest = hashlib.sha256((index["stem"] + index[name]).encode()).hexdigest()
    return Backbone(Shape(**metadata["config"]), p, digest)


def pack(name: str, shape: Shape, tensors: Tensors, known: torch.Tensor, folder: Path = FOLDER) -> None:
    """Write a CLIP's files and record their sha256.

    ``tensors`` are a whole CLIP with a stem; ``known`` (N,) are the token ids that the rows of its token embedding stand for.
    """
    folder.mkdir(parents=True, exist_ok=True)
    half = {n: t.half() for n, t in tensors.items()}
    shared = {n: t for n, t in half.items() if n.startswith(stem.PREFIX)}
    own = {n: t for n, t in half.items() if n not in shared} | {_IDS: known.to(torch.int32)}
    save(folder / "stem.safetensors", shared, {"source": "EfficientNet-Lite0, ImageNet, Apache-2.0"})
    save(folder / f"{name}.safetensors", own, {"config": shape.as_dict()})
    index = _index(folder) if (folder / "index.json").is_file() else {}
    index |= {part: sha256(folder / f"{part}.safetensors") for part in ("stem", name)}
    write_json(folder / "index.json", index)


def _index(folder: Path) -> dict[str, str]:
    try:
        return dict(json.loads((folder / "index.json").read_text()))
    except (OSError, ValueError):
        raise UserError(f"{folder / 'index.json'} is missing or corrupt; {_REMEDY}") from None
