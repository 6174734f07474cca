"""The models for photographs that come with the package; docs/models.md says what each has seen.

    weights/stem.safetensors      the frozen stem, which all of them share
    weights/<name>.safetensors    everything else of one CLIP; of the token embedding the rows of the words it was trained on
    weights/<name>/fomaml.safetensors    meta-learned prompts of one CLIP
    weights/photo.safetensors     everything else of the default scorer, which grmp/finetune/scorer.py loads
    weights/photo/biq2021.safetensors    what the stem makes of 100 photographs, in 8 bits
    weights/index.json            sha256 of each file

All other tensors are float16 on disk and float32 in memory. A token that a CLIP was not trained on has the mean of the rows
that it knows, so that such a word says nothing.
"""

import hashlib
from pathlib import Path
from typing import Any

from torch import Tensor

from grmp.clip import checkpoints
from grmp.clip.model import Backbone, Shape, Tensors
from grmp.errors import UserError, reading
from grmp.files import read_json, sha256

FOLDER = Path(__file__).parent / "weights"
SCORER = "photo"
REFERENCE = "photo/biq2021"
VOCABULARY = 49_408  # of CLIP's tokenizer
_EMBEDDING, IDS = "token_embedding.weight", "token_ids"
REMEDY = "install the package again"


def names(folder: Path = FOLDER) -> list[str]:
    """The CLIPs that are shipped."""
    return sorted(part for part in digests(folder) if part not in ("stem", SCORER) and "/" not in part)


def load(name: str, folder: Path = FOLDER) -> Backbone:
    """A shipped CLIP. Raises UserError if a file is missing, is corrupt or does not have the recorded sha256."""
    p, metadata, digest = read(name, folder)
    rows, ids = p[_EMBEDDING], p.pop(IDS).long()
    p[_EMBEDDING] = rows.mean(0).repeat(VOCABULARY, 1)
    p[_EMBEDDING][ids] = rows
    return Backbone(p, Shape(**metadata["config"]), digest)


def read(name: str, folder: Path = FOLDER) -> tuple[Tensors, dict[str, Any], str]:
    """Tensors in float32 (the stem's included), metadata, and one sha256 of both files of a shipped model.

    Raises UserError if a file is missing, is corrupt or does not have the recorded sha256.
    """
    found, (shared, _), (own, metadata) = digests(folder), _part("stem", folder), _part(name, folder)
    return shared | own, metadata, hashlib.sha256((found["stem"] + found[name]).encode()).hexdigest()


def prompts(name: str, variant: str, into: Path, folder: Path = FOLDER) -> None:
    """Write the meta-learned prompts of a shipped CLIP to the file ``into``, as `grmp pretrain` does.

    Raises UserError if it has none of this variant, or the file is corrupt.
    """
    if f"{name}/{variant}" not in digests(folder):
        raise UserError(
            f"{name} has no meta-learned prompts '{variant}'; choose --method last_blocks, ridge or zero_shot, or a pipeline "
            "with its own prompts: --params PIPELINE/params.yaml"
        )
    checkpoints.save(into, *_part(f"{name}/{variant}", folder))


def reference(folder: Path = FOLDER) -> Tensor:
    """What the stem makes of 100 photographs of BIQ2021 on which no shipped model was trained: (100, 896, 7, 7)."""
    found, _ = _part(REFERENCE, folder)
    return found["lowest"] + found["step"] * found["levels"]


def _part(part: str, folder: Path) -> tuple[Tensors, dict[str, Any]]:
    """Tensors in float32 and metadata of one file."""
    path = folder / f"{part}.safetensors"
    if not path.is_file() or sha256(path) != digests(folder).get(part):
        raise UserError(f"{path} is missing or corrupt (its sha256 is not the recorded one); {REMEDY}")
    found, metadata = checkpoints.read(path, REMEDY, "")
    return {n: t if n == IDS else t.float() for n, t in found.items()}, metadata


def digests(folder: Path) -> dict[str, str]:
    """sha256 of each file. Raises UserError if the list is missing or corrupt."""
    with reading(folder / "index.json", REMEDY):
        return dict(read_json(folder / "index.json"))
