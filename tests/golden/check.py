"""What this project computes, beside the numbers that one run of the authors' code gave on the same weights.

They pin the protocol ``published``, except for what comes before the arrays (departures 14, 15, 18 and 19) and for its random
numbers: the images are given, in float32, and without dropout (departures 13 and 20).
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from grmp.clip.model import (
    Backbone,
    PromptedCLIP,
    Shape,
    Tensors,
    embed_patches,
    image_blocks,
    pixels,
    prompted_texts,
    semantic_loss,
    task_loss,
    tokenize,
)
from grmp.finetune import loop
from grmp.finetune.gradient_rules import angle, regularize
from grmp.finetune.types import TEACHER_SCENE, Texts
from grmp.params import Variant
from grmp.pretrain import meta
from tests.golden import weights

SCENES = ["animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others"]
STEP, DECAY, STRENGTH = 0.05, 1e-4, 5.0
TASKS, SUPPORT_BATCHES, INNER_RATE, OUTER_FACTOR = 3, 2, 1e-3, 0.5
NORMS = ("prompt_norms", "grad_stats")
META_FORMS = {"as_published": "never", "reset_per_task": "task"}


def computed(
    config: dict[str, Any], images_u8: np.ndarray, targets: np.ndarray, names: list[str]
) -> dict[str, np.ndarray]:
    """Every array of a golden file, by our code; ``names`` is the file's order of meta parameters."""
    shape = weights.shape_of(config)
    base, prompts = weights.clip_weights(shape), weights.prompts(shape, config["prompt_tokens"])
    images, target = torch.from_numpy(images_u8), torch.from_numpy(targets)
    x = pixels(images, shape)
    texts = Texts(
        tokenize(prompted_texts(["high quality", "low quality"], 4)),
        tokenize([TEACHER_SCENE.format(s) for s in SCENES]),
    )
    plain = tokenize(["a photo with high quality.", "a photo with low quality."])
    out: dict[str, Any] = {}

    with torch.no_grad():
        teacher_clip = PromptedCLIP(base, shape)
        seen = teacher_clip.image(x)
        out["teacher_quality_logits"] = teacher_clip.logits(seen, teacher_clip.text(plain))
        teacher = teacher_clip.logits(seen, teacher_clip.text(texts.scenes))
        out["teacher_scene_logits"] = teacher

    tuned, frozen = loop.split_tuned(
        base | prompts, loop.tuned_names(shape, ("context", "blocks"), config["tuned_blocks"])
    )
    first = shape.vision_layers - config["tuned_blocks"]

    def forward(p: Tensors) -> dict[str, torch.Tensor]:
        clip = PromptedCLIP(p, shape)
        image, quality, scene = clip.image(x), clip.quality_text(texts.quality), clip.text(texts.scenes)
        return {
            "image_embedding": image,
            "quality_text_embedding": quality,
            "scene_text_embedding": scene,
            "quality_logits": clip.logits(image, quality),
            "scene_logits": clip.logits(image, scene),
        }

    with torch.no_grad():
        out |= forward(frozen | tuned)
        tokens = image_blocks(frozen, embed_patches(frozen, x), shape, 0, first)
    clip = PromptedCLIP(frozen | tuned, shape)
    encoded = clip.quality_text(texts.quality), clip.text(texts.scenes)
    quality, scenes = (clip.logits(clip.image_from(tokens, first), text) for text in encoded)
    task, semantic = task_loss(quality, target), semantic_loss(scenes, teacher)
    out |= {"task_loss": task, "semantic_loss": semantic}
    g_d, g_g = loop.gradients(task, semantic, tuned)
    regularized = regularize("published", g_d, g_g, STRENGTH)
    zero = {n: torch.zeros_like(t) for n, t in g_d.items()}
    out["grad_stats"] = {
        n: [float(v) for v in (g_d[n].norm(), g.norm(), torch.sum(g_d[n] * g), regularized[n].norm())]
        for n, g in (zero | g_g).items()
    }
    out["gradient_angle_deg"] = angle(g_d, g_g)
    with torch.no_grad():
        stepped = {n: t - STEP * (regularized[n] + DECAY * t) for n, t in tuned.items()}
        after = forward(frozen | stepped)
    out |= {f"{n}_after_step": after[n] for n in ("quality_logits", "scene_logits")}

    for form, reset in META_FORMS.items():
        out |= {f"meta_{form}_{n}": v for n, v in _meta(base, prompts, x, texts.quality, shape, reset, names).items()}
    return {
        n: v if isinstance(v, dict) else np.asarray(v.detach() if torch.is_tensor(v) else v) for n, v in out.items()
    }


def _meta(
    base: Tensors,
    prompts: Tensors,
    x: torch.Tensor,
    tokens: torch.Tensor,
    shape: Shape,
    reset: str,
    names: list[str],
) -> dict[str, Any]:
    def quality_logits(theta: Tensors, images: torch.Tensor) -> torch.Tensor:
        clip = PromptedCLIP(base | theta, shape)
        return clip.logits(clip.image(images), clip.quality_text(tokens))

    rng = np.random.Generator(np.random.PCG64(11))
    side = shape.image_size
    variant = Variant(
        protocol="published",
        reset=reset,
        query="inner",
        outer="average",
        order=0,
        inner="adam",
        inner_rate=INNER_RATE,
        outer_rate=OUTER_FACTOR,
    )
    backbone, size = Backbone(base, shape, "golden"), (4, 3, side, side)
    outer = meta.Outer(prompts, variant.outer, variant.outer_rate)

    def fresh() -> meta.Inner:
        return meta.Inner(outer.theta, variant.inner, variant.inner_rate)

    inner, directions, losses, loss = fresh(), [], [], meta.quality_loss(backbone, tokens)
    for _ in range(TASKS):
        draws = [torch.from_numpy(rng.integers(0, 256, size, dtype=np.uint8)) for _ in range(1 + SUPPORT_BATCHES)]
        query = (draws[0], torch.linspace(0, 1, 4))
        if reset == "task":
            inner = fresh()
        supports = [(support, torch.linspace(1, 0, 4)) for support in draws[1:]]
        direction, of_visit = meta.visit(outer.theta, inner, supports, [query], loss, variant)
        directions.append(direction)
        losses += [value for pair in zip(*of_visit, strict=True) for value in pair]
    outer.step(directions)
    with torch.no_grad():
        return {
            "losses": np.array(losses),
            "ctx": outer.theta["ctx"],
            "prompt_norms": np.array([float(outer.theta[n].norm()) for n in names]),
            "quality_logits": quality_logits(outer.theta, x),
        }


def differences(file: Path) -> dict[str, float]:
    """Largest difference of every array in a golden file from what is computed here; nan counts as infinite.

    Differences are absolute, but for norms, which are taken against the norm where it is above 1: at ViT-B/16 size a prompt's
    norm is 92 over a million float32 values, and torch's own float32 norm is 9e-4 from the float64 one.
    """
    with np.load(file, allow_pickle=False) as stored:
        golden = {name: stored[name] for name in stored.files}
    config = json.loads(str(golden["config"]))
    names = [str(n) for n in golden["meta_param_names"]]
    ours = computed(config, golden["images_u8"], golden["targets"], names)
    stats: Any = ours.pop("grad_stats")
    ours["grad_stats"] = np.array([stats[str(n)] for n in golden["grad_names"]])
    missing = set(golden) - set(ours) - {"config", "images_u8", "targets", "grad_names", "meta_param_names"}
    if missing or len(stats) != len(golden["grad_names"]):
        raise ValueError(f"{file}: arrays that this check does not know, or other tuned tensors: {sorted(missing)}")
    found = {}
    for name, value in sorted(ours.items()):
        scale = np.maximum(1, np.abs(golden[name])) if name.endswith(NORMS) else 1
        found[name] = np.max(np.abs(value.astype(np.float64) - golden[name]) / scale)
    return {name: float(v) if np.isfinite(v) else np.inf for name, v in found.items()}
