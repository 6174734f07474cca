"""CLIP's two towers with soft prompts, as pure functions over named tensors.

open_clip builds and loads the model; here its weights are a plain dictionary under their OpenAI names
(``visual.transformer.resblocks.0.attn.in_proj_weight``, ...) to which the soft prompts are added under the names of the
published code (CLIP/model.py, class VPTVisionTransformer, and finetune.py, class PromptLearner):

    ctx                               (M, text width)       context of the quality texts
    visual.prompt_embeddings          (1, P, D)             prompts of the first block
    visual.deep_prompt_embeddings     (prompted layers - 1, P, D)
    visual.prompt_proj.weight | bias  (D, D) | (D)          one linear map for the prompts of every block
    visual.prompt_norm.weight | bias  (D) | (D)             LayerNorm after the last block (absent: identity)

Prompts are replaced at every block, so what a block computes *at* a prompt position is thrown away: a prompt acts only
through its key and value. Prompts are therefore a key/value prefix here, the last block computes the class token alone (and
no key or value at all), and the text tower stops at the last end-of-text token. None of this changes a result (tests
compare with open_clip).

Letters: B images, L tokens, D width, P prompt tokens, M context tokens, C texts, E embedding.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from grmp.clip import stem

Tensors = dict[str, Tensor]
MEAN_STD = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "clip": ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)),
    "lite0": ((0.498,) * 3, (0.502,) * 3),  # what the stem was trained on, whatever a protocol asks for
}


@dataclass(frozen=True)
class Shape:
    """The numbers that fix a ViT CLIP's architecture."""

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
    normalize: str = "imagenet"
    stem: str = ""  # "lite0": the frozen convolutions of grmp/clip/stem.py in front of the patch embedding

    def as_dict(self) -> dict[str, int | bool | str]:
        """Plain data, for checkpoints."""
        return asdict(self)


@dataclass(frozen=True)
class Backbone:
    """A frozen CLIP: its shape, its weights, and a name by which checkpoints know it."""

    shape: Shape
    weights: Tensors
    sha256: str

    def to(self, device: torch.device | str) -> "Backbone":
        """The same backbone on another device."""
        return Backbone(self.shape, {n: w.to(device) for n, w in self.weights.items()}, self.sha256)


def pixels(images: Tensor, shape: Shape) -> Tensor:
    """(B, 3, S, S) uint8 -> float32, normalised."""
    mean, std = (torch.tensor(v, device=images.device).view(3, 1, 1) for v in MEAN_STD[shape.stem or shape.normalize])
    return (images.float() / 255 - mean) / std


def tokenize(texts: Sequence[str]) -> Tensor:
    """(C, 77) token ids by CLIP's own tokenizer."""
    from open_clip.tokenizer import SimpleTokenizer

    return SimpleTokenizer()(list(texts))


def prompted_texts(classes: Sequence[str], context_tokens: int) -> list[str]:
    """Texts whose first words stand where the context will be put: ``X X X X high quality.``"""
    return [" ".join(["X"] * context_tokens + [name]) + "." for name in classes]


# ---------------------------------------------------------------------------------------------------- transformer block


def _attention(y: Tensor, prompt: Tensor | None, p: Tensors, name: str, heads: int, causal: bool) -> Tensor:
    """Attention among tokens (B, L, D) and, as keys and values only, ``prompt`` (B or 1, P, D), before the output's map.

    Prompts that all images share are projected once and their keys and values repeated, rather than the other way round.
    """
    w, b = p[f"{name}.in_proj_weight"], p[f"{name}.in_proj_bias"]
    q, k, v = F.linear(y, w, b).chunk(3, dim=-1)
    if prompt is not None:
        width = y.shape[-1]
        more = F.linear(prompt, w[width:], b[width:]).expand(len(y), -1, -1).chunk(2, dim=-1)
        k, v = (torch.cat(pair, dim=1) for pair in zip((k, v), more, strict=True))  # (B, L + P, D)
    q, k, v = (t.unflatten(-1, (heads, -1)).transpose(1, 2) for t in (q, k, v))  # (B, H, L, D/H)
    return F.scaled_dot_product_attention(q, k, v, is_causal=causal).transpose(1, 2).flatten(2)


def _attention_of_first(y: Tensor, prompt: Tensor | None, p: Tensors, name: str, heads: int) -> Tensor:
    """What token 0 alone gets from ``_attention``, (B, 1, D), without a key or a value of any token.

    With one query the products can be taken in another order: q . (W_k y) = (W_k' q) . y, and sum_j a_j W_v y_j =
    W_v sum_j a_j y_j. The keys' bias adds the same to all scores, so that it drops out; the weights a sum to one, so that
    the values' bias is added whole.
    """
    w_q, w_k, w_v = p[f"{name}.in_proj_weight"].chunk(3)
    b_q, _, b_v = p[f"{name}.in_proj_bias"].chunk(3)
    q = F.linear(y[:, 0], w_q, b_q).unflatten(-1, (heads, -1))  # (B, H, D/H)
    asked = torch.einsum("bhd,hdm->bhm", q * q.shape[-1] ** -0.5, w_k.unflatten(0, (heads, -1)))  # (B, H, D)
    seen = [y] if prompt is None else [y, prompt]
    a = torch.cat([asked @ t.mT for t in seen], dim=-1).softmax(-1).split([t.shape[1] for t in seen], dim=-1)
    mean = torch.stack([part @ t for part, t in zip(a, seen, strict=True)]).sum(0)  # (B, H, D)
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
    """One residual block; ``prompt`` (B or 1, P, D) joins as keys and values, ``first_only`` keeps token 0 alone."""

    def norm(t: Tensor, ln: str) -> Tensor:
        return F.layer_norm(t, t.shape[-1:], p[f"{name}.{ln}.weight"], p[f"{name}.{ln}.bias"])

    y, prompt = norm(x, "ln_1"), None if prompt is None else norm(prompt, "ln_1")
    if first_only:
        x, y = x[:, :1], _attention_of_first(y, prompt, p, f"{name}.attn", heads)
    else:
        y = _attention(y, prompt, p, f"{name}.attn", heads, causal)
    x = x + F.linear(y, p[f"{name}.attn.out_proj.weight"], p[f"{name}.attn.out_proj.bias"])
    y = F.linear(norm(x, "ln_2"), p[f"{name}.mlp.c_fc.weight"], p[f"{name}.mlp.c_fc.bias"])
    w, b = p[f"{name}.mlp.c_proj.weight"], p[f"{name}.mlp.c_proj.bias"]
    if quick_gelu:  # y sigmoid(1.702 y) = silu(1.702 y) / 1.702, which passes over the wide tensor less often
        return x + F.linear(F.silu(1.702 * y), w / 1.702, b)
    return x + F.linear(F.gelu(y), w, b)


# ---------------------------------------------------------------------------------------------------------- image tower


def visual_prompts(p: Tensors, shape: Shape) -> list[Tensor | None]:
    """Projected prompts of each block, (1, P, D) or None; they do not depend on the image."""
    if "visual.prompt_embeddings" not in p:
        return [None] * shape.vision_layers
    raw = [p["visual.prompt_embeddings"]]
    if "visual.deep_prompt_embeddings" in p:
        raw += p["visual.deep_prompt_embeddings"].split(1)
    w, b = p["visual.prompt_proj.weight"], p["visual.prompt_proj.bias"]
    return [F.linear(r, w, b) for r in raw] + [None] * (shape.vision_layers - len(raw))


def apply_stem(p: Tensors, x: Tensor) -> Tensor:
    """(B, 3, S, S) normalised pixels -> the features of the frozen stem, or the pixels themselves where there is none."""
    return stem.features(p, x) if stem.FIRST in p else x


def embed_patches(p: Tensors, x: Tensor) -> Tensor:
    """(B, 3, S, S) normalised pixels -> (B, L, D) tokens in front of the first block, class token first.

    With a stem, its features (B, C, S / 32, S / 32) can be given instead of pixels.
    """
    x = apply_stem(p, x) if x.shape[1] == 3 else x
    patches = F.conv2d(x, p["visual.conv1.weight"], stride=p["visual.conv1.weight"].shape[-1]).flatten(2).mT
    cls = p["visual.class_embedding"].expand(len(x), 1, -1)
    x = torch.cat([cls, patches], dim=1) + p["visual.positional_embedding"]
    return F.layer_norm(x, x.shape[-1:], p["visual.ln_pre.weight"], p["visual.ln_pre.bias"])


def image_blocks(
    p: Tensors, x: Tensor, shape: Shape, first: int, last: int, drop: Callable[[Tensor], Tensor] | None = None
) -> Tensor:
    """Blocks ``first`` up to and without ``last`` on tokens (B, L, D); the tower's last block returns (B, 1, D).

    ``drop`` is the prompts' dropout of the published code: it acts on each image's copy of the prompts.
    """
    prompts = visual_prompts(p, shape)
    for i in range(first, last):
        prompt = prompts[i]
        if prompt is not None and drop is not None:
            prompt = drop(prompt.expand(len(x), -1, -1))
        name = f"visual.transformer.resblocks.{i}"
        is_last = i == shape.vision_layers - 1
        x = _block(x, p, name, shape.vision_heads, shape.quick_gelu, prompt, first_only=is_last)
    return x


def pool_image(p: Tensors, x: Tensor) -> Tensor:
    """Tokens after the last block, class token first -> unit-length embedding (B, E)."""
    x = x[:, 0]
    if "visual.prompt_norm.weight" in p:
        x = F.layer_norm(x, x.shape[-1:], p["visual.prompt_norm.weight"], p["visual.prompt_norm.bias"], eps=1e-6)
    x = F.layer_norm(x, x.shape[-1:], p["visual.ln_post.weight"], p["visual.ln_post.bias"])
    return F.normalize(x @ p["visual.proj"], dim=-1)


def image_tokens(p: Tensors, x: Tensor, shape: Shape) -> Tensor:
    """(B, 3, S, S) normalised pixels -> every token after the last block and ``ln_post``, (B, L, D), class token first."""
    last = shape.vision_layers - 1
    x = image_blocks(p, embed_patches(p, x), shape, 0, last)
    x = _block(
        x,
        p,
        f"visual.transformer.resblocks.{last}",
        shape.vision_heads,
        shape.quick_gelu,
        visual_prompts(p, shape)[last],
    )
    return F.layer_norm(x, x.shape[-1:], p["visual.ln_post.weight"], p["visual.ln_post.bias"])


def image_embedding(p: Tensors, x: Tensor, shape: Shape, drop: Callable[[Tensor], Tensor] | None = None) -> Tensor:
    """(B, 3, S, S) normalised pixels -> unit-length image embedding (B, E)."""
    return pool_image(p, image_blocks(p, embed_patches(p, x), shape, 0, shape.vision_layers, drop))


# ----------------------------------------------------------------------------------------------------------- text tower


def text_embedding(p: Tensors, tokens: Tensor, shape: Shape, context: Tensor | None = None) -> Tensor:
    """(C, 77) token ids -> unit-length text embedding (C, E); ``context`` (M, D) replaces the tokens after the first."""
    end = tokens.argmax(dim=-1)  # the end-of-text token has the largest id
    length = int(end.max()) + 1  # the mask is causal: nothing behind the end token matters
    x = p["token_embedding.weight"][tokens[:, :length]]
    if context is not None:
        x = torch.cat([x[:, :1], context.expand(len(x), -1, -1), x[:, 1 + len(context) :]], dim=1)
    x = x + p["positional_embedding"][:length]
    for i in range(shape.text_layers):
        x = _block(x, p, f"transformer.resblocks.{i}", shape.text_heads, shape.quick_gelu, causal=True)
    x = F.layer_norm(x, x.shape[-1:], p["ln_final.weight"], p["ln_final.bias"])
    return F.normalize(x[torch.arange(len(x)), end] @ p["text_projection"], dim=-1)


def logits(p: Tensors, image: Tensor, text: Tensor) -> Tensor:
    """(B, E) and (C, E) unit-length embeddings -> (B, C) scaled cosines."""
    return p["logit_scale"].exp() * image @ text.T


# -------------------------------------------------------------------------------------------------------------- prompts


def random_prompts(
    shape: Shape, visual_tokens: int, visual_layers: int, text_tokens: int, norm: str, generator: torch.Generator
) -> Tensors:
    """Fresh prompts, initialised as in the published code (model.py, _init_prompt; finetune.py, PromptLearner).

    ``visual_layers`` counts the prompted blocks from the first, 0 means all; ``visual_tokens`` 0 gives none.
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
        # nn.Linear's own start for the bias
        prompts["visual.prompt_proj.bias"] = (torch.rand(d, generator=generator) * 2 - 1) / d**0.5
    if norm == "layer":
        prompts["visual.prompt_norm.weight"] = torch.ones(shape.vision_width)
        prompts["visual.prompt_norm.bias"] = torch.zeros(shape.vision_width)
    return prompts


# --------------------------------------------------------------------------------------------------------------- losses


def task_loss(quality_logits: Tensor, target: Tensor) -> Tensor:
    """Binary cross-entropy with soft labels, eq. (2): (B, 2) logits, best class first, and targets (B,) in [0, 1]."""
    log_p = F.log_softmax(quality_logits, dim=-1)
    return -(target * log_p[:, 0] + (1 - target) * log_p[:, 1]).mean()


def semantic_loss(scene_logits: Tensor, teacher_logits: Tensor, temperature: float = 1.0) -> Tensor:
    """Cross-entropy of the student's scene probabilities against the teacher's, eq. (3); both (B, C)."""
    teacher = F.softmax(teacher_logits / temperature, dim=-1)
    return -(teacher * F.log_softmax(scene_logits / temperature, dim=-1)).sum(-1).mean() * temperature**2
