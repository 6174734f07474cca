"""The backbone and prompt checkpoints: safetensors whose metadata says what they are."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save as to_bytes

from grmp.clip.model import Backbone, Shape, Tensors, random_prompts
from grmp.errors import UserError
from grmp.files import sha256, whole, write_json
from grmp.params import Params, PretrainedBackbone, Prompts

if TYPE_CHECKING:
    from open_clip import CLIP

KEY = "grmp"
PATH = Path("models/backbone.safetensors")
HEAD_WIDTH = 64  # of every CLIP that OpenAI released


def save(path: Path, tensors: Tensors, metadata: dict[str, Any]) -> None:
    """Tensors and plain metadata as one whole file."""
    contiguous = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
    # under one key: safetensors writes several in an order that changes from run to run
    content = to_bytes(contiguous, {KEY: json.dumps(metadata, sort_keys=True)})
    with whole(path) as beside:
        beside.write_bytes(content)  # its save_file leaves a stray when it is killed, and lets the owner alone read


def read(path: Path, remedy: str, first: str = "delete it, then ") -> tuple[Tensors, dict[str, Any]]:
    """Tensors and metadata of a checkpoint.

    Raises
    ------
    UserError
        If it is missing or damaged; the message ends with ``remedy``, and what is to be done ``first`` with a damaged one.
    """
    if not path.is_file():
        raise UserError(f"{path} not found; {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            metadata = json.loads((file.metadata() or {}).get(KEY, "{}"))
            if not isinstance(metadata, dict):
                raise ValueError("its metadata is no table")
            return {name: file.get_tensor(name) for name in file.keys()}, metadata  # noqa: SIM118
    except (SafetensorError, ValueError, OSError, RecursionError) as error:
        raise UserError(f"{path} is damaged ({' '.join(str(error).split())[:200]}); {first}{remedy}") from None


def outline(folder: Path) -> Backbone:
    """The world's backbone without its weights: what the head of the file says.

    Raises
    ------
    UserError
        If it is missing or damaged.
    """
    path = folder / PATH
    if not path.is_file():
        raise UserError(f"{path} not found; make it with: dvc repro backbone")
    try:
        with safe_open(path, framework="pt") as file:
            config = json.loads(file.metadata()[KEY])["config"]
        return Backbone(Shape(**config), {}, sha256(path))
    except (SafetensorError, ValueError, OSError, KeyError, TypeError):
        raise UserError(f"{path} is not a backbone of this project; delete it, then: dvc repro backbone") from None


def load(folder: Path, device: torch.device | str = "cpu", normalize: str = "") -> Backbone:
    """The world's backbone; ``normalize`` names other pixel statistics than its own (departure 16)."""
    path = folder / PATH
    weights, metadata = read(path, "make it with: dvc repro backbone")
    try:
        shape = Shape(**metadata["config"] | ({"normalize": normalize} if normalize else {}))
    except (KeyError, TypeError):
        raise UserError(f"{path} is not a backbone of this project; delete it, then: dvc repro backbone") from None
    return Backbone(shape, weights, sha256(path)).to(device)


def load_prompts(folder: Path, variant: str, backbone: Backbone, wanted: Prompts) -> Tensors:
    """Meta-learned prompts, checked against the backbone that they were learned on and the shapes asked for.

    Raises
    ------
    UserError
        If the checkpoint is missing, damaged, of another backbone, or does not fit in any tensor.
    """
    path = folder / "models/prompts" / f"{variant}.safetensors"
    prompts, metadata = read(path, f"make it with: dvc repro pretrain@{variant}")
    remedy = f"learn them again: dvc repro pretrain@{variant}"
    if metadata.get("backbone") != backbone.sha256:
        raise UserError(f"{path} was learned on another backbone than {folder / PATH}; {remedy}")
    p, generator = wanted, torch.Generator().manual_seed(0)
    # the LayerNorm after the last block belongs to the prompts as they were learned (departure 17)
    norm = "layer" if "visual.prompt_norm.weight" in prompts else "identity"
    fitting = random_prompts(backbone.shape, p.visual_tokens, p.visual_layers, p.text_tokens, norm, generator)
    has, asked = ({n: tuple(t.shape) for n, t in tensors.items()} for tensors in (prompts, fitting))
    for name in sorted(has.keys() | asked.keys()):
        if has.get(name) != asked.get(name):
            raise UserError(
                f"{path} does not fit params.yaml and the backbone: {name} is {_size(has.get(name))}, "
                f"asked for is {_size(asked.get(name))}; {remedy}"
            )
    return prompts


def _size(size: tuple[int, ...] | None) -> str:
    return "absent" if size is None else " x ".join(map(str, size))


def shape_of(model: "CLIP", normalize: str) -> Shape:
    """Shape of an open_clip model; refuses towers that this project cannot prompt.

    Raises
    ------
    UserError
        If the model is not a plain ViT CLIP (class token, no attention pooling, text end-token pooling).
    """
    visual = model.visual
    plain = hasattr(visual, "class_embedding") and getattr(visual, "attn_pool", None) is None
    plain = plain and getattr(visual, "pool_type", "") == "tok" and getattr(model, "text_pool_type", "") == "argmax"
    if not plain or not isinstance(model.text_projection, torch.nn.Parameter):
        raise UserError("this open_clip model is not a plain ViT CLIP; choose one such as ViT-B-16-quickgelu")
    block, text_block = visual.transformer.resblocks[0], model.transformer.resblocks[0]
    return Shape(
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


def build(params: Params, folder: Path, origin: Path | None = None) -> None:
    """The ``backbone`` stage: fetch CLIP's weights, or train the small CLIP; write models/ and results/backbone.json.

    ``origin`` is a local file of weights for a machine without network.
    """
    settings = params.backbone
    if isinstance(settings, PretrainedBackbone):
        from grmp.clip.pretrained import fetch

        tensors, shape, card = fetch(settings, origin)
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
    save(folder / PATH, tensors, {"config": shape.as_dict()})
    write_json(folder / "results/backbone.json", card)
