"""CLIP's two towers with soft prompts, as pure functions of named tensors, and ``PromptedCLIP`` on top of them.

open_clip builds and loads the model. Here its weights are a plain dictionary under their OpenAI names
(``visual.transformer.resblocks.0.attn.in_proj_weight``, ...), joined by the soft prompts under the names of the released
code (CLIP/model.py, class VPTVisionTransformer, and finetune.py, class PromptLearner):

    ctx                               (M, text width)       context of the quality texts
    visual.prompt_embeddings          (1, P, D)             prompts of the first block
    visual.deep_prompt_embeddings     (prompted layers - 1, P, D)
    visual.prompt_proj.weight | bias  (D, D) | (D)          one linear map for the prompts of every block
    visual.prompt_norm.weight | bias  (D) | (D)             LayerNorm after the last block (absent: identity)

Prompts are replaced at every block, so the output of a block *at* a prompt position is discarded: a prompt acts only through
its key and value. Prompts are therefore a key/value prefix here, the last block computes the class token alone (and no key
or value at all), and the text tower stops at the last end-of-text token. None of this changes a result (tests compare with
open_clip).

Letters: B images, L tokens, D width, P prompt tokens, M context tokens, C texts, E embedding.
"""

import math
import runpy
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib.metadata import distribution

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grmp.clip import stem
from grmp.data.crops import Images, centre, crop, spare

Tensors = dict[str, Tensor]
MEAN_STD = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "half": ((0.5,) * 3, (0.5,) * 3),  # of some LAION models
    "lite0": ((0.498,) * 3, (0.502,) * 3),  # what the stem was trained on, whatever a protocol asks for
}


@dataclass(frozen=True)
class Shape:
    """The numbers that define the architecture of a ViT CLIP."""

    embed_dim: int
    image_size: int
    patch_size: int
    vision_width: int
    vision_layers: int
    vision_heads: int
    text_width: int
    text_layers: int
    text_heads: int
    quick_gelu: bool
    normalize: str = "imagenet"  # pixel statistics: "clip" are the model's own, or those of another name in MEAN_STD
    own: str = "clip"  # name of the pixel statistics that the model was trained with
    stem: str = ""  # "lite0": the frozen convolutions of grmp/clip/stem.py in front of the patch embedding

    def last_blocks(self, count: int) -> list[str]:
        """Prefixes of the tensors of the last ``count`` blocks of both towers."""
        towers = (("visual.", self.vision_layers), ("", self.text_layers))
        return [f"{t}transformer.resblocks.{i}." for t, n in towers for i in range(max(0, n - count), n)]


@dataclass(frozen=True)
class PromptedCLIP:
    """A CLIP with its soft prompts (if any): named tensors and the functions that read them."""

    weights: Tensors
    shape: Shape

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.weights["logit_scale"].device

    def image(self, x: Tensor, masks: Tensor | None = None) -> Tensor:
        """(B, 3, S, S) normalised pixels -> unit-length embeddings (B, E); ``masks`` as in ``image_blocks``."""
        return self.image_from(self.features(x, -1), -1, masks)

    def tokens(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> every token after the last block and its LayerNorm, (B, L, D), class token first."""
        x = image_blocks(self.weights, self.features(x, 0), self.shape, 0, self.shape.vision_layers, all_tokens=True)
        return _norm(x, self.weights, "visual.ln_post")

    def features(self, x: Tensor, block: int) -> Tensor:
        """(B, 3, S, S) -> tokens in front of ``block`` (B, L, D); if it is -1, the input of the patch embedding."""
        if block < 0:
            return apply_stem(self.weights, x)
        return image_blocks(self.weights, embed_patches(self.weights, x), self.shape, 0, block)

    def image_from(self, features: Tensor, block: int, masks: Tensor | None = None) -> Tensor:
        """The rest of ``image``: what ``features`` returned for the same ``block`` -> embeddings (B, E)."""
        x = embed_patches(self.weights, features) if block < 0 else features
        x = image_blocks(self.weights, x, self.shape, max(block, 0), self.shape.vision_layers, masks)
        return pool_image(self.weights, x)

    def text(self, tokens: Tensor, context: Tensor | None = None) -> Tensor:
        """(C, 77) token ids -> unit-length embeddings (C, E); ``context`` (M, D) replaces the tokens after the first.

        Token ids that are on a GPU are used at their length (``cut``): reading them here would wait for the GPU.
        """
        p, shape = self.weights, self.shape
        tokens = tokens if tokens.is_cuda else cut(tokens).to(self.device)
        end, length = tokens.argmax(dim=-1), tokens.shape[1]
        x = p["token_embedding.weight"][tokens]
        if context is not None:
            x = torch.cat([x[:, :1], context.expand(len(x), -1, -1), x[:, 1 + len(context) :]], dim=1)
        x = x + p["positional_embedding"][:length]
        for i in range(shape.text_layers):
            x = _block(x, p, f"transformer.resblocks.{i}", shape.text_heads, shape.quick_gelu, causal=True)
        last = _norm(x, p, "ln_final")[torch.arange(len(x), device=end.device), end]
        return F.normalize(last @ p["text_projection"], dim=-1)

    def quality_text(self, tokens: Tensor) -> Tensor:
        """``text`` with the model's own context, if it has one."""
        return self.text(tokens, self.weights.get("ctx"))

    def logits(self, image: Tensor, text: Tensor) -> Tensor:
        """(B, E) and (C, E) unit-length embeddings -> (B, C) scaled cosines."""
        return self.weights["logit_scale"].exp() * image @ text.T

    def quality(self, x: Tensor, text: Tensor) -> Tensor:
        """(B, 3, S, S) and text embeddings, the better quality first -> probability of the better one (B,)."""
        return self.logits(self.image(x), text).softmax(-1)[:, 0]

    def score(self, images: Images, rows: np.ndarray, text: Tensor) -> np.ndarray:
        """``quality`` of the centre crops of ``images[rows]``, (N,) in [0, 1]."""
        return self.map(lambda x: self.quality(x, text), images, rows).numpy()

    @torch.no_grad()
    def map(self, function: Callable[[Tensor], Tensor], images: Images, rows: np.ndarray, batch: int = 64) -> Tensor:
        """``function`` of normalised centre crops (B, 3, S, S), at most ``batch`` at a time, concatenated on the CPU.

        ``images`` is (N, 3, S', S') uint8 with S' >= S, or features of a stem; ``rows`` are positions in it.
        """
        size, found = self.shape.image_size, []
        for part in np.array_split(rows, max(1, math.ceil(len(rows) / batch))):
            x = crop(images, centre(part, spare(images, size)), size).to(self.device)
            found.append(function(pixels(x, self.shape)).cpu())
        return torch.cat(found)


@dataclass(frozen=True)
class Backbone(PromptedCLIP):
    """A frozen CLIP without prompts, and the digest by which checkpoints refer to it."""

    sha256: str

    def to(self, device: torch.device | str) -> "Backbone":
        """The same backbone on another device."""
        return Backbone({n: w.to(device) for n, w in self.weights.items()}, self.shape, self.sha256)

    def prompted(self, prompts: Tensors) -> PromptedCLIP:
        """The CLIP with these prompts."""
        return PromptedCLIP(self.weights | prompts, self.shape)


def pixels(images: Tensor, shape: Shape) -> Tensor:
    """(B, 3, S, S) uint8 -> float32, normalised; features of a stem as they are."""
    if images.shape[-3] != 3:
        return images
    name = shape.stem or (shape.own if shape.normalize == "clip" else shape.normalize)
    mean, std = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in MEAN_STD[name])
    return (images.float() / 255 - mean) / std


@cache
def _tokenizer() -> Callable[[list[str]], Tensor]:
    """open_clip's tokenizer by itself: the package also imports torchvision and torch's compiler, which takes seconds."""
    path = distribution("open_clip_torch").locate_file("open_clip/tokenizer.py")
    tokenize: Callable[[list[str]], Tensor] = runpy.run_path(str(path))["tokenize"]
    return tokenize


def tokenize(texts: Sequence[str]) -> Tensor:
    """(C, 77) token ids by CLIP's own tokenizer."""
    return _tokenizer()(list(texts))


def cut(tokens: Tensor) -> Tensor:
    """(C, 77) token ids -> (C, L): the mask is causal, so that tokens behind the end-of-text token have no influence."""
    return tokens[:, : int(tokens.argmax(dim=-1).max()) + 1]  # the end token has the largest id


def prompted_texts(classes: Sequence[str], context_tokens: int) -> list[str]:
    """Texts whose first words are placeholders for the context: ``X X X X high quality.``"""
    return [" ".join(["X"] * context_tokens + [name]) + "." for name in classes]


# ---------------------------------------------------------------------------------------------------- transformer block


def _norm(x: Tensor, p: Tensors, name: str, eps: float = 1e-5) -> Tensor:
    """LayerNorm in the type of ``x``: under autocast torch's returns float32 (CLIP/model.py, class LayerNorm)."""
    if x.is_cuda and x.dtype != p[f"{name}.weight"].dtype:  # one kernel, which sums in float32, instead of three
        with torch.autocast("cuda", enabled=False):
            weight, bias = (p[f"{name}.{part}"].to(x.dtype) for part in ("weight", "bias"))
            return F.layer_norm(x, x.shape[-1:], weight, bias, eps)
    return F.layer_norm(x, x.shape[-1:], p[f"{name}.weight"], p[f"{name}.bias"], eps).to(x.dtype)


def _standardized(x: Tensor) -> Tensor:
    """LayerNorm without scale and shift, in the type of ``x``."""
    with torch.autocast("cuda", enabled=False) if x.is_cuda else nullcontext():
        return F.layer_norm(x, x.shape[-1:]).to(x.dtype)


def _attention(y: Tensor, prompt: Tensor | None, p: Tensors, name: str, heads: int, causal: bool) -> Tensor:
    """Attention among tokens (B, L, D) and ``prompt`` (B or 1, P, D), which gives keys and values only; no output map.

    Prompts that all images share are projected once, then their keys and values are repeated.
    """
    w, b = p[f"{name}.in_proj_weight"], p[f"{name}.in_proj_bias"]
    q, k, v = F.linear(y, w, b).chunk(3, dim=-1)
    if prompt is not None:
        width = y.shape[-1]
        more = F.linear(prompt, w[width:], b[width:]).expand(y.shape[0], -1, -1).chunk(2, dim=-1)
        k, v = (torch.cat(pair, dim=1) for pair in zip((k, v), more, strict=True))  # (B, L + P, D)
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, H, L, D/H)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)


def _attention_of_first(x: Tensor, prompt: Tensor | None, p: Tensors, name: str, heads: int) -> Tensor:
    """LayerNorm and ``_attention`` of a block for token 0 alone, (B, 1, D), without computing a key or a value.

    With one query the products can be reordered: q . (W_k y) = (W_k' q) . y, and sum_j a_j W_v y_j = W_v sum_j a_j y_j. So can
    the scale and the shift of the LayerNorm, y = s * n + t: (W_k' q) . y = (s * W_k' q) . n + W_k' q . t, and
    sum_j a_j y_j = s * sum_j a_j n_j + t. The last term of the scores and the keys' bias add the same number to all of them, so
    softmax removes it; the weights a sum to one, so t and the values' bias are added once. Scale and shift are applied to the
    query and to the sum instead of every token, so their gradients need no pass over the tokens.
    """
    s, t = p[f"{name}.ln_1.weight"], p[f"{name}.ln_1.bias"]
    w_q, w_k, w_v = p[f"{name}.attn.in_proj_weight"].chunk(3)
    b_q, _, b_v = p[f"{name}.attn.in_proj_bias"].chunk(3)
    seen = [_standardized(tokens) for tokens in (x, prompt) if tokens is not None]
    q = F.linear(seen[0][:, 0] * s + t, w_q, b_q).unflatten(-1, (heads, -1))  # (B, H, D/H)
    asked = torch.einsum("bhd,hdm->bhm", q * q.shape[-1] ** -0.5, w_k.unflatten(0, (heads, -1))) * s  # (B, H, D)
    a = torch.cat([asked @ n.mT for n in seen], dim=-1).softmax(-1).split([n.shape[1] for n in seen], dim=-1)
    mean = torch.stack([part @ n for part, n in zip(a, seen, strict=True)]).sum(0) * s + t  # (B, H, D)
    out = torch.einsum("bhm,hdm->bhd", mean, w_v.unflatten(0, (heads, -1)))
    return (out.flatten(1) + b_v).unsqueeze(1)


def _block(
    x: Tensor,
    p: Tensors,
    name: str,
    heads: int,
    quick_gelu: bool,
    prompt: Tensor | None = None,
    first_only: bool = False,
    causal: bool = False,
) -> Tensor:
    """One residual block; ``prompt`` (B or 1, P, D) joins as keys and values, ``first_only`` returns token 0 alone."""
    if first_only:
        x, y = x[:, :1], _attention_of_first(x, prompt, p, name, heads)
    else:
        y, prompt = _norm(x, p, f"{name}.ln_1"), None if prompt is None else _norm(prompt, p, f"{name}.ln_1")
        y = _attention(y, prompt, p, f"{name}.attn", heads, causal)
    x = x + F.linear(y, p[f"{name}.attn.out_proj.weight"], p[f"{name}.attn.out_proj.bias"])
    y, (w, b) = _norm(x, p, f"{name}.ln_2"), (p[f"{name}.mlp.c_fc.{part}"] for part in ("weight", "bias"))
    v, c = p[f"{name}.mlp.c_proj.weight"], p[f"{name}.mlp.c_proj.bias"]
    if not quick_gelu:
        return x + F.linear(F.gelu(F.linear(y, w, b)), v, c)
    # y sigmoid(1.702 y) = silu(1.702 y) / 1.702: fewer passes over the widest tensor, or without a gradient over the weights
    scale_weights = x.is_cuda or y.requires_grad
    y = F.linear(y, 1.702 * w, 1.702 * b) if scale_weights else 1.702 * F.linear(y, w, b)
    return x + F.linear(F.silu(y), v / 1.702, c)


# ---------------------------------------------------------------------------------------------------------- image tower


def visual_prompt(p: Tensors, block: int) -> Tensor | None:
    """Projected prompts of a block, (1, P, D), or None; they do not depend on the image."""
    first, deep = p.get("visual.prompt_embeddings"), p.get("visual.deep_prompt_embeddings")
    raw = first if block == 0 else deep[block - 1 : block] if deep is not None else None
    if raw is None or not len(raw):
        return None
    return F.linear(raw, p["visual.prompt_proj.weight"], p["visual.prompt_proj.bias"])


def apply_stem(p: Tensors, x: Tensor) -> Tensor:
    """(B, 3, S, S) normalised pixels -> features of the frozen stem; what is features already, or has no stem, as it is."""
    return stem.features(p, x) if stem.FIRST in p and x.shape[1] == 3 else x


def embed_patches(p: Tensors, x: Tensor) -> Tensor:
    """(B, 3, S, S) normalised pixels -> (B, L, D) tokens in front of the first block, class token first.

    With a stem, its features (B, C, S / 32, S / 32) can be passed instead of pixels.
    """
    x = apply_stem(p, x)
    patches = F.conv2d(x, p["visual.conv1.weight"], stride=p["visual.conv1.weight"].shape[-1]).flatten(2).mT
    # tokens have the type of the convolution: under autocast the residual stream of this tower is float16, as released
    cls = p["visual.class_embedding"].to(patches.dtype).expand(x.shape[0], 1, -1)
    if stem.POOLED in p:
        cls = cls + F.linear(stem.pooled(x), p[stem.POOLED])[:, None].to(patches.dtype)
    x = torch.cat([cls, patches], dim=1) + p["visual.positional_embedding"].to(patches.dtype)
    return _norm(x, p, "visual.ln_pre")


def image_blocks(
    p: Tensors,
    x: Tensor,
    shape: Shape,
    first: int,
    last: int,
    masks: Tensor | None = None,
    all_tokens: bool = False,
) -> Tensor:
    """Blocks ``first`` up to and excluding ``last`` on tokens (B, L, D).

    The last block of the tower returns the class token alone, (B, 1, D), unless ``all_tokens``. ``masks``
    (prompted blocks, B, P, D) multiply each image's copy of the prompts: the dropout of the released code.
    """
    for i in range(first, last):
        prompt = visual_prompt(p, i)
        if prompt is not None and masks is not None:
            prompt = prompt * masks[i]
        name = f"visual.transformer.resblocks.{i}"
        first_only = i == shape.vision_layers - 1 and not all_tokens
        x = _block(x, p, name, shape.vision_heads, shape.quick_gelu, prompt, first_only)
    return x


class PromptDropout:
    """Dropout of the visual prompts on each image's copy, as in the released code; every task has its own generator."""

    def __init__(self, rate: float, prompts: Tensors, seeds: Sequence[Sequence[int]]) -> None:
        """One seed per task; ``prompts`` are those of one task."""
        first = prompts.get("visual.prompt_embeddings", torch.empty(0, 0, 0))
        blocks = 1 + len(prompts.get("visual.deep_prompt_embeddings", ()))
        self.rate, self.sizes = (rate if len(first) else 0.0), (blocks, *first.shape[1:])
        numbers = [int(np.random.SeedSequence(seed).generate_state(1)[0]) for seed in seeds]
        self.generators = [torch.Generator(first.device).manual_seed(n) for n in numbers]

    def masks(self, images: int) -> list[Tensor]:
        """The masks (T, prompted blocks, B, P, D) of the next forward pass, in a list; an empty one without dropout."""
        blocks, *sizes = self.sizes
        if not self.rate:
            return []
        drawn = [torch.rand((blocks, images, *sizes), generator=g, device=g.device) for g in self.generators]
        return [(torch.stack(drawn) >= self.rate) / (1 - self.rate)]


def pool_image(p: Tensors, x: Tensor) -> Tensor:
    """Tokens after the last block, class token first -> unit-length embedding (B, E)."""
    x = x[:, 0]
    if "visual.prompt_norm.weight" in p:
        x = _norm(x, p, "visual.prompt_norm", eps=1e-6)
    return F.normalize(_norm(x, p, "visual.ln_post") @ p["visual.proj"], dim=-1)


# -------------------------------------------------------------------------------------------------------------- prompts


def random_prompts(
    shape: Shape, visual_tokens: int, visual_layers: int, text_tokens: int, norm: str, generator: torch.Generator
) -> Tensors:
    """Fresh prompts, initialised as in the released code (model.py, _init_prompt; finetune.py, PromptLearner).

    ``visual_layers`` counts the prompted blocks from the first, 0 means all; ``visual_tokens`` 0 means no visual prompts.
    """

    def normal(*size: int, std: float) -> Tensor:
        return torch.randn(size, generator=generator) * std

    prompts = {"ctx": normal(text_tokens, shape.text_width, std=0.02)}
    if visual_tokens:
        d, layers = shape.vision_width, visual_layers or shape.vision_layers
        bound = (6 / (3 * shape.patch_size**2 + d)) ** 0.5
        both = (torch.rand((layers, visual_tokens, d), generator=generator) * 2 - 1) * bound
        prompts["visual.prompt_embeddings"] = both[:1].clone()
        if layers > 1:
            prompts["visual.deep_prompt_embeddings"] = both[1:].clone()
        prompts["visual.prompt_proj.weight"] = normal(d, d, std=(2 / d) ** 0.5)  # Kaiming, fan_out
        # the default initialisation of a bias in nn.Linear
        prompts["visual.prompt_proj.bias"] = (torch.rand(d, generator=generator) * 2 - 1) / d**0.5
    if norm == "layer":
        prompts["visual.prompt_norm.weight"] = torch.ones(shape.vision_width)
        prompts["visual.prompt_norm.bias"] = torch.zeros(shape.vision_width)
    return prompts


# --------------------------------------------------------------------------------------------------------------- losses


def task_loss(quality_logits: Tensor, target: Tensor, weight: Tensor | float = 1.0) -> Tensor:
    """Binary cross-entropy with soft labels, eq. (2): (B, 2) logits, better class first, and targets (B,) in [0, 1].

    ``weight`` (B,) counts images more or less; the loss is still divided by B.
    """
    log_p = F.log_softmax(quality_logits, dim=-1)
    return -((target * log_p[:, 0] + (1 - target) * log_p[:, 1]) * weight).mean()


def semantic_loss(scene_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of the student's scene probabilities against the teacher's, eq. (3); both (B, C)."""
    teacher = F.softmax(teacher_logits / temperature, dim=-1)
    return -(teacher * F.log_softmax(scene_logits / temperature, dim=-1)).sum(-1).mean() * temperature**2
