"""Pretrained CLIP weights by open_clip's model name and tag: located, downloaded, verified, read without unpickling."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from grmp.clip.formats import read_weights
from grmp.clip.model import MEAN_STD, PromptedCLIP, Shape, Tensors, tokenize
from grmp.data.download import SourceFailed, from_hub
from grmp.errors import UserError
from grmp.files import sha256
from grmp.params import PretrainedBackbone

if TYPE_CHECKING:
    from open_clip import CLIP

FILE = "open_clip_model.safetensors"
NOT_PLAIN = "backbone.model: {} is not a plain ViT CLIP; choose one such as ViT-B-32-quickgelu"


def locate(settings: PretrainedBackbone) -> str:
    """The Hub repository that open_clip names for this model and tag; "" for your own weights (``pretrained: ""``).

    Raises UserError for an unknown model or tag, a model that is not a plain ViT, or one whose activation is not that of
    the weights: OpenAI's weights need QuickGELU (``ViT-B-16-quickgelu``); with plain ``ViT-B-16`` open_clip only warns
    and computes something else.
    """
    import open_clip

    config = open_clip.get_model_config(settings.model)
    if config is None:
        raise UserError(f"backbone.model: open_clip knows no '{settings.model}'; see open_clip.list_models()")
    vision, text = config["vision_cfg"], config["text_cfg"]
    if isinstance(vision.get("layers"), list) or "timm_model_name" in vision or "hf_model_name" in text:
        raise UserError(NOT_PLAIN.format(settings.model))
    if not settings.pretrained:
        return ""
    pretrained = open_clip.get_pretrained_cfg(settings.model, settings.pretrained)
    if not pretrained:
        known = ", ".join(sorted(open_clip.list_pretrained_tags_by_model(settings.model)))
        raise UserError(
            f"backbone.pretrained: '{settings.pretrained}' is not a tag of {settings.model}; known: {known or 'none'}, "
            'or "" for a file of your own'
        )
    if bool(pretrained.get("quick_gelu")) and not config.get("quick_gelu"):
        raise UserError(
            f"backbone.model: the '{settings.pretrained}' weights need QuickGELU; write {settings.model}-quickgelu"
        )
    return str(pretrained.get("hf_hub", "")).rstrip("/")


def fetch(settings: PretrainedBackbone, origin: Path | None) -> tuple[Tensors, Shape, dict[str, Any]]:
    """Weights, shape and card of a pretrained CLIP.

    Raises UserError if the file cannot be downloaded, has another sha256 than stated (or OpenAI's release), or does not fit.

    Parameters
    ----------
    origin
        A local file (grmp.clip.formats lists the formats), used instead of the Hub (which honours its usual environment
        variables: token, proxy, cache, HF_HUB_OFFLINE).
    """
    import open_clip

    repository = locate(settings)
    remedy = f"grmp backbone --from /path/to/{FILE}"
    if origin is None and not repository:
        raise UserError(
            f"open_clip names no Hub repository for {settings.model} '{settings.pretrained}'; pass the weights as a file: "
            f"{remedy}"
        )
    try:
        origin = origin or from_hub(repository, FILE)
    except SourceFailed as error:
        raise UserError(
            f"cannot download {repository}/{FILE} ({error}); on a machine without network: {remedy}"
        ) from None
    if not origin.is_file():
        raise UserError(f"{origin} is not a file; give the path of {FILE}")
    digest = sha256(origin)

    def is_release(model: str, tag: str) -> bool:
        """Whether the address of the release, as far as open_clip knows one, contains the sha256."""
        return digest in (open_clip.get_pretrained_cfg(model, tag) or {}).get("url", "").split("/")

    of_openai = is_release(settings.model.removesuffix("-quickgelu") + "-quickgelu", "openai")
    if settings.sha256 not in ("", digest) and not (of_openai and settings.pretrained == "openai"):
        raise UserError(
            f"{origin} has sha256 {digest}, not {settings.sha256}; download it again, or correct backbone.sha256 "
            '("" accepts any file)'
        )
    logging.disable(logging.WARNING)  # open_clip warns of random values, which are all replaced below
    try:
        model = open_clip.create_model(settings.model)
    finally:
        logging.disable(logging.NOTSET)
    # a file of one's own may be a known release
    known = (t for t in open_clip.list_pretrained_tags_by_model(settings.model) if is_release(settings.model, t))
    tag = settings.pretrained or next(known, "")
    weights = read_weights(origin, of_openai)
    if not open_clip.get_model_config(settings.model).get("quick_gelu"):
        _check_gelu(settings.model, origin, weights, of_openai)
    expected = {n: tuple(t.shape) for n, t in model.state_dict().items()}
    wrong = sorted(n for n, size in expected.items() if n not in weights or tuple(weights[n].shape) != size)
    if wrong:
        raise UserError(f"{origin} does not fit {settings.model}: {wrong[0]} is missing or not of the shape in {FILE}")
    tensors = {n: weights[n].float() for n in expected}
    model.load_state_dict(tensors)
    card = {
        "name": f"{settings.model} ({tag or 'own weights'})",
        "source": repository or origin.name,
        "sha256": digest,
    }
    mean = (open_clip.get_pretrained_cfg(settings.model, tag) or {}).get("mean")
    own = next((name for name, (of_name, _) in MEAN_STD.items() if mean and of_name == tuple(mean)), "clip")
    return tensors, replace(shape_of(model.eval(), settings.normalize), own=own), card


def _check_gelu(model: str, origin: Path, weights: Tensors, of_openai: bool) -> None:
    """Refuse OpenAI's weights, which need QuickGELU, for a model with GELU.

    They are known by the file of the release (``of_openai``), or by transformers' config.json beside a file that was saved
    again. Without either, a line is printed if the weights have float16 precision, as OpenAI's do and others seldom do.
    """
    config = origin.with_name("config.json")
    if of_openai or (config.is_file() and '"quick_gelu"' in config.read_text()):
        raise UserError(f"backbone.model: {origin} contains weights that need QuickGELU; write {model}-quickgelu")
    layers = [w.float() for n, w in weights.items() if n.endswith("mlp.c_fc.weight")]
    if layers and all(torch.equal(w, w.half().float()) for w in layers):
        print(f"note: {origin} has float16 precision; if it contains OpenAI's weights, write {model}-quickgelu")


@torch.no_grad()
def shape_of(model: "CLIP", normalize: str) -> Shape:
    """Shape of an open_clip model.

    Whether it is a plain ViT CLIP is decided by its output: grmp.clip.model must compute the same embeddings of an image
    of noise and of a text. open_clip's many options (poolings, masks, layer scales, norms) need not be known one by one.
    Raises UserError if it is not.
    """
    noise, text = torch.Generator().manual_seed(0), tokenize(["a photo with high quality."])
    try:
        visual = model.visual
        block, text_block = visual.transformer.resblocks[0], model.transformer.resblocks[0]
        shape = Shape(
            embed_dim=visual.proj.shape[1],
            image_size=visual.image_size[0],
            patch_size=visual.patch_size[0],
            vision_width=visual.proj.shape[0],
            vision_layers=len(visual.transformer.resblocks),
            vision_heads=block.attn.num_heads,
            text_width=model.token_embedding.weight.shape[1],
            text_layers=len(model.transformer.resblocks),
            text_heads=text_block.attn.num_heads,
            quick_gelu=type(block.mlp.gelu).__name__ == "QuickGELU",
            normalize=normalize,
        )
        x = torch.rand((1, 3, shape.image_size, shape.image_size), generator=noise) - 0.5
        ours = PromptedCLIP(dict(model.state_dict()), shape)
        pairs = (ours.image(x), model.encode_image(x, normalize=True)), (ours.text(text), model.encode_text(text, True))
        if all(torch.allclose(a, b, atol=1e-4) for a, b in pairs):
            return shape
    except (AttributeError, KeyError, TypeError, RuntimeError):
        pass  # a part is missing, or of another size or kind
    raise UserError(NOT_PLAIN.format("this open_clip model"))
