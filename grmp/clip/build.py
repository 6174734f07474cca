"""The ``backbone`` stage: download CLIP's weights, or copy a CLIP that the package ships."""

from pathlib import Path

from grmp.clip import checkpoints
from grmp.clip.model import MEAN_STD
from grmp.errors import UserError
from grmp.files import write_json
from grmp.params import Params, PretrainedBackbone


def build(params: Params, root: Path, origin: Path | None = None) -> None:
    """Write models/backbone.safetensors and results/backbone.json; ``origin`` is a local file instead of the download.

    Raises UserError if the settings name a shipped CLIP and ``origin`` is given.
    """
    settings = params.backbone
    if isinstance(settings, PretrainedBackbone):
        from grmp.clip.pretrained import fetch

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
    used = (
        "" if shape.stem or settings.normalize in ("clip", own) else f"; the settings use those of {settings.normalize}"
    )
    activation = "QuickGELU" if shape.quick_gelu else "GELU"
    print(f"{card['name']}: activation {activation}; pixels of mean {mean} and standard deviation {deviation}{used}")
    checkpoints.save(root / checkpoints.PATH, tensors, {"config": vars(shape)})
    write_json(root / "results/backbone.json", card)
