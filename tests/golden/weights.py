"""The weights behind a golden file: each tensor follows from its name and shape alone, so that none need be stored.

A standard normal stream seeded with the CRC-32 of the name, scaled by what kind of tensor it is. Names are those of an
OpenAI CLIP state dict, and of grmp.clip.model for the prompts.
"""

import math
import zlib
from typing import Any

import numpy as np
import torch

from grmp.clip.model import Shape, Tensors

NORMS = {"ln_1", "ln_2", "ln_pre", "ln_post", "ln_final", "prompt_norm"}
WIDE = ("positional_embedding", "class_embedding", "prompt_embeddings")  # parts of names scaled by 0.1
HEAD = 64


def value(name: str, shape: tuple[int, ...]) -> torch.Tensor:
    """One tensor, float32."""
    if name == "logit_scale":
        return torch.tensor(math.log(20.0))
    draw = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).standard_normal(shape).astype(np.float32)
    owner, _, leaf = name.rpartition(".")
    if leaf == "weight" and owner.rpartition(".")[2] in NORMS:
        return torch.from_numpy(1 + draw * np.float32(0.1))
    if name.endswith("bias"):
        return torch.from_numpy(draw * np.float32(0.02))
    if name in ("token_embedding.weight", "ctx") or any(part in name for part in WIDE):
        return torch.from_numpy(draw * np.float32(0.1))
    fan_in = shape[-1] if len(shape) == 2 else math.prod(shape[1:])
    return torch.from_numpy(draw * np.float32(fan_in**-0.5))


def shape_of(config: dict[str, Any]) -> Shape:
    """The architecture that a golden file's ``config`` states."""
    return Shape(
        **{key: config[key] for key in ("embed_dim", "image_size", "patch_size", "vision_width", "vision_layers")},
        **{key: config[key] for key in ("text_width", "text_layers")},
        vision_heads=config["vision_width"] // HEAD,
        text_heads=config["text_width"] // HEAD,
        quick_gelu=True,
        normalize="imagenet",
    )


def clip_weights(s: Shape) -> Tensors:
    """Every tensor of a ViT CLIP of this shape."""
    v, t = s.vision_width, s.text_width
    sizes: dict[str, tuple[int, ...]] = {
        "visual.class_embedding": (v,),
        "visual.positional_embedding": ((s.image_size // s.patch_size) ** 2 + 1, v),
        "visual.conv1.weight": (v, 3, s.patch_size, s.patch_size),
        "visual.proj": (v, s.embed_dim),
        "token_embedding.weight": (49408, t),
        "positional_embedding": (77, t),
        "text_projection": (t, s.embed_dim),
        "logit_scale": (),
    }
    norms = {"visual.ln_pre": v, "visual.ln_post": v, "ln_final": t}
    for tower, width, layers in (("visual.", v, s.vision_layers), ("", t, s.text_layers)):
        for i in range(layers):
            block = f"{tower}transformer.resblocks.{i}"
            norms |= {f"{block}.ln_1": width, f"{block}.ln_2": width}
            linears = (
                (f"{block}.attn.in_proj_", 3, 1),
                (f"{block}.attn.out_proj.", 1, 1),
                (f"{block}.mlp.c_fc.", 4, 1),
                (f"{block}.mlp.c_proj.", 1, 4),
            )
            for name, out, into in linears:
                sizes[f"{name}weight"], sizes[f"{name}bias"] = (out * width, into * width), (out * width,)
    for name, width in norms.items():
        sizes[f"{name}.weight"] = sizes[f"{name}.bias"] = (width,)
    return {name: value(name, size) for name, size in sizes.items()}


def prompts(s: Shape, tokens: int) -> Tensors:
    """Deep visual prompts and a context of 4."""
    v = s.vision_width
    sizes = {
        "ctx": (4, s.text_width),
        "visual.prompt_embeddings": (1, tokens, v),
        "visual.deep_prompt_embeddings": (s.vision_layers - 1, tokens, v),
        "visual.prompt_proj.weight": (v, v),
        "visual.prompt_proj.bias": (v,),
        "visual.prompt_norm.weight": (v,),
        "visual.prompt_norm.bias": (v,),
    }
    return {name: value(name, size) for name, size in sizes.items()}
