"""CLIP weights by open_clip's name and tag: found, fetched through the Hub, verified, read without unpickling."""

from pathlib import Path
from typing import Any

from safetensors.torch import load_file

from grmp.clip import Shape, Tensors
from grmp.databases.download import SourceFailed, from_hub
from grmp.errors import UserError
from grmp.files import sha256
from grmp.params import PretrainedBackbone

FILE = "open_clip_model.safetensors"


def locate(settings: PretrainedBackbone) -> str:
    """The Hub repository that open_clip names for this model and tag.

    Raises
    ------
    UserError
        For an unknown model or tag, or a model whose activation is not that of the weights: OpenAI's weights want QuickGELU
        (``ViT-B-16-quickgelu``); with plain ``ViT-B-16`` open_clip only warns and computes something else.
    """
    import open_clip

    config = open_clip.get_model_config(settings.model)
    if config is None:
        raise UserError(f"backbone.model: open_clip knows no '{settings.model}'; see open_clip.list_models()")
    pretrained = open_clip.get_pretrained_cfg(settings.model, settings.pretrained)
    if not pretrained:
        known = ", ".join(sorted(open_clip.list_pretrained_tags_by_model(settings.model)))
        raise UserError(f"backbone.pretrained: '{settings.pretrained}' is no tag of {settings.model}; known: {known}")
    if bool(pretrained.get("quick_gelu")) and not config.get("quick_gelu"):
        raise UserError(
            f"backbone.model: the '{settings.pretrained}' weights need QuickGELU; write {settings.model}-quickgelu"
        )
    return str(pretrained["hf_hub"]).rstrip("/")


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

    from grmp.backbone import shape_of

    repository = locate(settings)
    if origin is None:
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
    model = open_clip.create_model(settings.model)
    weights = load_file(origin)
    expected = {n: tuple(t.shape) for n, t in model.state_dict().items()}
    wrong = sorted(n for n, size in expected.items() if n not in weights or tuple(weights[n].shape) != size)
    if wrong:
        raise UserError(f"{origin} does not fit {settings.model}: {wrong[0]} is missing or of another shape")
    tensors = {n: weights[n].float() for n in expected}
    card = {"name": f"{settings.model} ({settings.pretrained})", "source": repository, "sha256": digest}
    return tensors, shape_of(model, settings.normalize), card
