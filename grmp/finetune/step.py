"""One step of few-shot adaptation: what is trained, the two losses, their gradients, and the descent.

Everything here is a function of named tensors of one split; grmp.clip.vmap maps it over several.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from grmp.clip import lora, stem
from grmp.clip import model as clip
from grmp.clip.model import Shape, Tensors
from grmp.finetune.types import Texts
from grmp.params import Adapt


def tuned_names(shape: Shape, train: Sequence[str], blocks: int) -> tuple[str, ...]:
    """Prefixes of the tensors that are trained, from the parts that params.Tune names.

    "blocks" are the last ``blocks`` blocks of both towers with their final LayerNorms (finetune.py, main), "lora" low-rank
    additions to the weights of these blocks (grmp.clip.lora); "all" is every tensor but the scale of the logits.
    """
    names: list[str] = []
    if "context" in train:
        names += ["ctx"]
    if "visual_prompts" in train:
        names += ["visual.prompt_", "visual.deep_prompt_"]
    if "blocks" in train and blocks:
        for tower, layers in (("visual.", shape.vision_layers), ("", shape.text_layers)):
            names += [f"{tower}transformer.resblocks.{i}." for i in range(max(0, layers - blocks), layers)]
        names += ["visual.ln_post.", "ln_final."]
    if "lora" in train:
        names += [n + part for n in lora.adapted(shape, blocks) for part in (lora.A, lora.B)]
    if "all" in train:
        names += ["visual.", "transformer.", "ln_final.", "token_embedding.", "positional_embedding", "text_projection"]
    return tuple(names)


def first_trained_block(shape: Shape, train: Sequence[str], blocks: int) -> int:
    """Image block in front of which the frozen features can be kept; -1 if the pixels' embedding itself is trained."""
    if "all" in train:
        return -1
    if "visual_prompts" in train:
        return 0
    return shape.vision_layers - (min(blocks, shape.vision_layers) if {"blocks", "lora"} & set(train) else 0)


def split_tuned(tensors: Tensors, prefixes: tuple[str, ...]) -> tuple[Tensors, Tensors]:
    """(tuned, frozen): the first are fresh leaves that require gradients; a stem is always frozen."""
    trained = (n for n in tensors if n.startswith(prefixes) and not n.startswith(stem.PREFIX))
    tuned = {n: tensors[n].detach().clone().requires_grad_() for n in trained}
    return tuned, {n: t for n, t in tensors.items() if n not in tuned}


def finish_image(p: Tensors, kept: Tensor, shape: Shape, first: int) -> Tensor:
    """From what is kept in front of block ``first`` (B, L, D), or from pixels if it is -1, to the embedding (B, E)."""
    x = clip.embed_patches(p, kept) if first < 0 else kept
    return clip.pool_image(p, clip.image_blocks(p, x, shape, max(first, 0), shape.vision_layers))


def losses(
    p: Tensors,
    kept: Tensor,
    first: int,
    texts: Texts,
    target: Tensor,
    teacher: Tensor,
    shape: Shape,
    temperature: float = 1.0,
) -> tuple[Tensor, Tensor]:
    """(task loss, semantic loss) from what is kept in front of block ``first`` on."""
    image = finish_image(p, kept, shape, first)
    quality = clip.logits(p, image, clip.text_embedding(p, texts.quality, shape, p.get("ctx")))
    scenes = clip.logits(p, image, clip.text_embedding(p, texts.scenes, shape))
    return clip.task_loss(quality, target), clip.semantic_loss(scenes, teacher, temperature)


def gradients(task: Tensor, semantic: Tensor | None, tuned: Tensors) -> tuple[Tensors, Tensors]:
    """Gradients of both losses from one forward, by name; a tensor that a loss does not touch is left out."""

    def named(loss: Tensor, retain: bool) -> Tensors:
        found = torch.autograd.grad(loss, list(tuned.values()), retain_graph=retain, allow_unused=True)
        return {n: g for n, g in zip(tuned, found, strict=True) if g is not None}

    # with the context alone in training nothing reaches the scene texts
    reached = semantic is not None and semantic.requires_grad
    g_d = named(task, retain=reached)
    return g_d, (named(semantic, retain=False) if semantic is not None and reached else {})


def by_position(task: Tensors, semantic: Tensors) -> Tensors:
    """The published pairing under torch >= 2.0 (departure 10): lists of the gradients that exist, zipped.

    The semantic list lacks the context, so every tensor meets its neighbour's gradient. The released code would stop where
    the sizes differ; a pair of different sizes is left unpaired here.
    """
    return {n: g for (n, t), g in zip(task.items(), semantic.values(), strict=False) if g.numel() == t.numel()}


@torch.no_grad()
def descend(tuned: Tensors, gradients: Tensors, velocity: Tensors, rates: Tensor, settings: Adapt) -> None:
    """torch.optim.SGD's step in place, with a learning rate for each split: tensors are (S, ...), ``rates`` (S,)."""
    for name, gradient in gradients.items():
        gradient = gradient.add(tuned[name], alpha=settings.weight_decay)
        if settings.momentum:
            gradient = gradient.add(velocity[name], alpha=settings.momentum) if name in velocity else gradient
            velocity[name] = gradient
        tuned[name].sub_(rates.view(-1, *[1] * (gradient.dim() - 1)) * gradient)
