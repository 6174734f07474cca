"""The ``backbone`` stage: download CLIP's weights, or copy a CLIP that the package ships."""

from contextlib import suppress
from pathlib import Path
from typing import Any

from grmp.clip import checkpoints
from grmp.clip.model import MEAN_STD
from grmp.code import code_digest
from grmp.errors import UserError
from grmp.files import read_json, sha256, write_json
from grmp.params import Params, PretrainedBackbone


def build(params: Params, root: Path, origin: Path | None = None) -> None:
    """Write models/backbone.safetensors and results/backbone.json; ``origin`` is a local file instead of the download.

    Without ``origin``, open_clip's weights that are here already are kept: they may have come from a local file. Raises
    UserError if the settings name a shipped CLIP and ``origin`` is given.
    """
    settings, asked = params.backbone, dict[str, Any]()
    if isinstance(settings, PretrainedBackbone):
        from grmp.clip.pretrained import fetch

        # the pixel statistics are applied when images are read
        asked = settings.model_dump(exclude={"normalize"}) | {"code": code_digest("grmp.clip.pretrained")}
        if origin is None and (found := _here(root)) and found["asked"] == asked:
            print(f"{found['name']}: already here")
            return
        tensors, shape, card = fetch(settings, origin)
    else:
        from grmp.clip import shipped

        if origin:
            raise UserError(f"--from {origin}: backbone.source is shipped, not open_clip; remove one of the two")
        backbone = shipped.load(settings.name)
        tensors, shape = backbone.weights, backbone.shape
        card = {"name": settings.name, "source": "shipped with the package", "sha256": backbone.sha256}
    own = shape.stem or shape.own  # a stem has statistics of its own, whatever the settings say
    mean, deviation = MEAN_STD[own]
    others = not shape.stem and settings.normalize not in ("clip", own)
    used = f"; the settings use those of {settings.normalize}" if others else ""
    activation = "QuickGELU" if shape.quick_gelu else "GELU"
    print(f"{card['name']}: activation {activation}; pixels of mean {mean} and standard deviation {deviation}{used}")
    checkpoints.save(root / checkpoints.PATH, tensors, {"config": vars(shape)})
    kept = {"asked": asked, "file": sha256(root / checkpoints.PATH)} if asked else {}
    write_json(root / "results/backbone.json", card | kept)


def _here(root: Path) -> dict[str, Any] | None:
    """results/backbone.json of an earlier call, if the weights beside it are those that it wrote."""
    with suppress(OSError, ValueError, KeyError, TypeError):
        card: dict[str, Any] = read_json(root / "results/backbone.json")
        if card["asked"] and card["file"] == sha256(root / checkpoints.PATH):
            return card
    return None
