"""CLIP weights by open_clip's name and tag: found, fetched through the Hub, verified, read without unpickling."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load_file

from grmp.clip import model as clip
from grmp.clip.model import Shape, Tensors
from grmp.data.download import SourceFailed, from_hub
from grmp.errors import UserError
from grmp.files import sha256
from grmp.params import PretrainedBackbone

if TYPE_CHECKING:
    from open_clip import CLIP

FILE = "open_clip_model.safetensors"


def locate(settings: PretrainedBackbone) -> str:
    """The Hub repository that open_clip names for this model and tag; "" for weights of one's own (``pretrained: ""``).

    Raises
    ------
    UserError
        For an unknown model or tag, a model that is no plain ViT, or one whose activation is not that of the weights:
        OpenAI's weights want QuickGELU (``ViT-B-16-quickgelu``); with plain ``ViT-B-16`` open_clip only warns and computes
        something else.
    """
    import open_clip

    config = open_clip.get_model_config(settings.model)
    if config is None:
        raise UserError(f"backbone.model: open_clip knows no '{settings.model}'; see open_clip.list_models()")
    vision, text = config["vision_cfg"], config["text_cfg"]
    if isinstance(vision.get("layers"), list) or "timm_model_name" in vision or "hf_model_name" in text:
        raise UserError(
            f"backbone.model: {settings.model} is not a plain ViT CLIP; choose one such as ViT-B-32-quickgelu"
        )
    if not settings.pretrained:
        return ""
    pretrained = open_clip.get_pretrained_cfg(settings.model, settings.pretrained)
    if not pretrained:
        known = ", ".join(sorted(open_clip.list_pretrained_tags_by_model(settings.model)))
        raise UserError(
            f"backbone.pretrained: '{settings.pretrained}' is no tag of {settings.model}; known: {known or 'none'}, "
            'or "" for a file of your own'
        )
    if bool(pretrained.get("quick_gelu")) and not config.get("quick_gelu"):
        raise UserError(
            f"backbone.model: the '{settings.pretrained}' weights need QuickGELU; write {settings.model}-quickgelu"
        )
    return str(pretrained.get("hf_hub", "")).rstrip("/")


def fetch(settings: PretrainedBackbone, origin: Path | None) -> tuple[Tensors, Shape, dict[str, Any]]:
    """Weights, shape and card of a pretrained CLIP.

    Parameters
    ----------
    origin
        A local .safetensors file, instead of the Hub (whose usual environment variables - token, proxy, cache, HF_HUB_OFFLINE -
        hold otherwise).

    Raises
    ------
    UserError
        If the file cannot be had, does not have the stated sha256, or does not fit the model.
    """
    import open_clip

    from grmp.clip.checkpoints import shape_of

    repository = locate(settings)
    if origin is None:
        if not repository:
            raise UserError(
                f"open_clip names no Hub repository for {settings.model} '{settings.pretrained}'; give the weights as a file: "
                f"grmp backbone --from /path/to/{FILE}"
            )
        try:
            origin = from_hub(repository, FILE)
        except SourceFailed as error:
            raise UserError(
                f"cannot fetch {repository}/{FILE} ({error}); on a machine without network: "
                f"grmp backbone --from /path/to/{FILE}"
            ) from None
    if not origin.is_file():
        raise UserError(f"{origin} is not a file; give the path of {FILE}")
    if origin.suffix != ".safetensors":
        raise UserError(f"{origin} is not a .safetensors file; other formats can run code when read and are refused")
    digest = sha256(origin)
    if settings.sha256 and digest != settings.sha256:
        raise UserError(
            f"{origin} has sha256 {digest}, not {settings.sha256}; fetch it again, or set backbone.sha256 if it is right"
        )
    logging.disable(logging.WARNING)  # open_clip warns of random values, which are all replaced below
    try:
        model = open_clip.create_model(settings.model)
    finally:
        logging.disable(logging.NOTSET)
    weights = load_file(origin)
    expected = {n: tuple(t.shape) for n, t in model.state_dict().items()}
    wrong = sorted(n for n, size in expected.items() if n not in weights or tuple(weights[n].shape) != size)
    if wrong:
        raise UserError(f"{origin} does not fit {settings.model}: {wrong[0]} is missing or of another shape")
    tensors = {n: weights[n].float() for n in expected}
    model.load_state_dict(tensors)
    shape = shape_of(model, settings.normalize)
    if not same_function(model.eval(), tensors, shape):
        raise UserError(
            f"backbone.model: {settings.model} is not a plain ViT CLIP; choose one such as ViT-B-32-quickgelu"
        )
    card = {
        "name": f"{settings.model} ({settings.pretrained or 'own weights'})",
        "source": repository or origin.name,
        "sha256": digest,
    }
    return tensors, shape, card


@torch.no_grad()
def same_function(model: "CLIP", tensors: Tensors, shape: Shape) -> bool:
    """True if grmp.clip.model computes what open_clip's ``model`` does, on a picture of noise and a text.

    open_clip's many options (attention masks, layer scales, norms, poolings) need not be known one by one for this.
    """
    noise = torch.rand((1, 3, shape.image_size, shape.image_size), generator=torch.Generator().manual_seed(0)) - 0.5
    text = clip.tokenize(["a photo with high quality."])
    try:
        ours = clip.image_embedding(tensors, noise, shape), clip.text_embedding(tensors, text, shape)
    except (KeyError, RuntimeError):
        return False
    theirs = model.encode_image(noise, normalize=True), model.encode_text(text, normalize=True)
    return all(torch.allclose(a, b, atol=1e-4) for a, b in zip(ours, theirs, strict=True))
