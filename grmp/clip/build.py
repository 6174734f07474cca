"""The ``backbone`` stage: download CLIP's weights, copy a shipped CLIP, or train the small CLIP."""

from pathlib import Path

from grmp.clip import checkpoints
from grmp.clip.model import Shape
from grmp.files import write_json
from grmp.params import Params, PretrainedBackbone, ShippedBackbone

HEAD_WIDTH = 64  # of every CLIP that OpenAI released


def build(params: Params, root: Path, origin: Path | None = None) -> None:
    """Write models/backbone.safetensors and results/backbone.json; ``origin`` is a local file instead of the download."""
    settings = params.backbone
    if isinstance(settings, PretrainedBackbone):
        from grmp.clip.pretrained import fetch

        tensors, shape, card = fetch(settings, origin)
    elif isinstance(settings, ShippedBackbone):
        from grmp.clip import shipped

        backbone = shipped.load(settings.name)
        tensors, shape = backbone.weights, backbone.shape
        card = {"name": settings.name, "source": "shipped with the package", "sha256": backbone.sha256}
    else:
        from grmp.clip.small import train

        a = settings.architecture
        tensors, card = train(a, settings.training)
        shape = Shape(
            **a.model_dump(),
            vision_heads=a.vision_width // HEAD_WIDTH,
            text_heads=a.text_width // HEAD_WIDTH,
            quick_gelu=True,
            normalize=settings.normalize,
        )
    checkpoints.save(root / checkpoints.PATH, tensors, {"config": shape.as_dict()})
    write_json(root / "results/backbone.json", card)
