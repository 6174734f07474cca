"""Files of CLIP weights as people have them, read without executing code from them.

.safetensors                open_clip's or transformers' tensor names
.bin | .pt | .pth           a dictionary of tensors, through torch's restricted unpickler
OpenAI's own ViT-B-16.pt    a TorchScript archive, read only if its sha256 is the one in the address of the release
"""

import re
import warnings
from pathlib import Path

import torch
from safetensors.torch import load_file

from grmp.clip.model import Tensors
from grmp.errors import UserError

PARTS = {  # transformers -> OpenAI
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm": "ln_final",
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.encoder.layers.": "transformer.resblocks.",
    "vision_model.encoder.layers.": "visual.transformer.resblocks.",
    ".layer_norm1.": ".ln_1.",
    ".layer_norm2.": ".ln_2.",
    ".mlp.fc1.": ".mlp.c_fc.",
    ".mlp.fc2.": ".mlp.c_proj.",
    ".self_attn.out_proj.": ".attn.out_proj.",
}
PROJECTIONS = {"text_projection.weight": "text_projection", "visual_projection.weight": "visual.proj"}


def read_weights(path: Path, of_openai: bool) -> Tensors:
    """Tensors by OpenAI names; ``of_openai`` says that it is the file of OpenAI's release, by its sha256.

    Raises UserError if the file cannot be read without executing code from it, or is corrupt.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about TorchScript, in which OpenAI released its weights
            if path.suffix.lower() == ".safetensors":
                state = load_file(path)
            elif of_openai:
                state = torch.jit.load(path, map_location="cpu").state_dict()
            else:
                state = torch.load(path, map_location="cpu", weights_only=True)
                state = state.get("state_dict", state)
        state = {n.removeprefix("module."): t for n, t in state.items() if isinstance(t, torch.Tensor)}
        return from_transformers(state) if "visual_projection.weight" in state else state
    except Exception:  # readers raise many kinds
        raise UserError(
            f"{path} is corrupt, or not a plain dictionary of tensors; other content can execute code and is rejected"
        ) from None


def from_transformers(state: Tensors) -> Tensors:
    """The tensors of transformers' CLIPModel under OpenAI's names."""
    out: Tensors = {}
    for name, tensor in state.items():
        if name in PROJECTIONS:
            out[PROJECTIONS[name]] = tensor.T
        elif match := re.fullmatch(r"(.*)\.self_attn\.q_proj\.(weight|bias)", name):
            block, kind = match.groups()
            three = [state[f"{block}.self_attn.{part}_proj.{kind}"] for part in "qkv"]
            out[f"{_renamed(block + '.')}attn.in_proj_{kind}"] = torch.cat(three)
        elif not re.search(r"\.self_attn\.[kv]_proj\.", name):
            out[_renamed(name)] = tensor
    return out


def _renamed(name: str) -> str:
    for old, new in PARTS.items():
        name = name.replace(old, new)
    return name
