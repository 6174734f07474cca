"""What is timed: the same work by the plain implementation and by ours, on ViT-B/16 with seeded weights and 100 prompts.

Each piece of work has two recipes, functions without arguments, and a function that compares their results.
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench import plain
from grmp.clip.model import (
    Backbone,
    PromptedCLIP,
    Shape,
    Tensors,
    pixels,
    prompted_texts,
    semantic_loss,
    task_loss,
    tokenize,
)
from grmp.clip.precision import reduced
from grmp.data import crops
from grmp.finetune import loop
from grmp.finetune.gradient_rules import regularize
from grmp.finetune.loop import finetune
from grmp.finetune.types import TEACHER_SCENE, SplitData, Subset, Texts
from grmp.params import Adapt, Tune, load
from grmp.pretrain import meta
from tests.golden import weights

VIT_B16 = Shape(512, 224, 16, 768, 12, 12, 512, 12, 8, True, "imagenet")
PROMPTS, TUNED, RATE, STRENGTH, DROPOUT = 100, 4, 1e-3, 5.0, 0.1
PAPER = load(Path(__file__).parents[1] / "params.yaml").under("published")
RELEASED, SCENES = PAPER.variants["reptile_published"], PAPER.adapt.scenes


@dataclass(frozen=True)
class Work:
    """Recipes of the same computation, and the largest difference between two of their results."""

    recipes: dict[str, Callable[[], Any]]
    difference: Callable[[Any, Any], float]
    plain_share: float = 1.0  # of the work that the plain recipe does: a whole one may take too long
    times: int = 1  # how often the setting's images are used


class Setting:
    """Weights, texts and images for both recipes."""

    def __init__(
        self,
        device: torch.device,
        images: int,
        shape: Shape = VIT_B16,
        prompts: int = PROMPTS,
        precision: str = "float32",
    ) -> None:
        self.device, self.shape, self.precision = device, shape, precision
        self.base = {n: t.to(device) for n, t in weights.clip_weights(shape).items()}
        self.prompts = {n: t.to(device) for n, t in weights.prompts(shape, prompts).items()}
        self.texts = Texts(
            tokenize(prompted_texts(["high quality", "low quality"], 4)).to(device),
            tokenize([TEACHER_SCENE.format(s) for s in SCENES]).to(device),
        )
        size, generator = (images, 3, shape.image_size, shape.image_size), torch.Generator().manual_seed(0)
        self.images = torch.randint(0, 256, size, generator=generator, dtype=torch.uint8)
        self.x = pixels(self.images.to(device), shape)
        self.target = torch.linspace(0, 1, images).to(device)
        self.plain = plain.Prompted(plain.build(shape, self.base), self.prompts, self.texts.quality).to(device)
        self.teacher = plain.build(shape, self.base).to(device)

    def reduced(self) -> AbstractContextManager[Any]:
        """The context of a forward pass. One for each: autocast keeps rounded weights until its context ends."""
        return reduced(self.device, self.precision)

    def masks(self) -> Callable[[Tensor], Tensor]:
        """The prompts' dropout on each image's copy, the same for both recipes."""
        generator = torch.Generator(self.device).manual_seed(1)

        def drop(t: Tensor) -> Tensor:
            return t * (torch.rand(t.shape, generator=generator, device=self.device) >= DROPOUT) / (1 - DROPOUT)

        return drop


def _apart(a: Sequence[Tensor], b: Sequence[Tensor]) -> float:
    return max(
        float((s - t).detach().abs().max()) for s, t in zip(a, b, strict=False)
    )  # the plain one may have done a part


def published_schedule(s: Setting, epochs: int) -> tuple[Tune, Adapt]:
    """GRMP-IQA's fine-tuning by the published schedule, but to the last epoch: with random labels its end is random."""
    method = Tune(
        kind="tune", label="", prompts="random", train=["context", "blocks"], rule="published", strength=STRENGTH
    )
    # the plain recipe has no dropout in fine-tuning, and results are compared
    changed = {"epochs": epochs, "patience": epochs, "label_scale": "database", "views": 0, "prompt_dropout": 0.0}
    here = {"precision": s.precision, "threads": torch.get_num_threads(), "device": s.device.type}
    return method, PAPER.adapt.model_copy(update=changed | here)


def evaluation(s: Setting) -> Work:
    """Scores of a batch of test images."""
    p = s.base | s.prompts

    @torch.no_grad()
    def ours() -> list[Tensor]:
        with s.reduced():
            clip = PromptedCLIP(p, s.shape)
            return [clip.logits(clip.image(s.x), clip.quality_text(s.texts.quality))]

    @torch.no_grad()
    def theirs() -> list[Tensor]:
        with s.reduced():
            return [s.plain.quality(s.x)]

    return Work({"plain": theirs, "ours": ours}, _apart)


def adaptation(s: Setting, count: int = 1) -> Work:
    """One epoch of few-shot fine-tuning (one step on all K images) of ``count`` splits; our feature cache is warm.

    Every split has the same images, and ours goes on from where its last step ended. The plain recipe does one of them.
    """
    method, settings = published_schedule(s, epochs=1)
    side = Subset(crops.place(s.images.numpy(), s.device), s.target.cpu().double().numpy(), np.arange(len(s.target)))
    jobs = [SplitData(split, s.prompts, side, side) for split in range(count)]
    ready = loop.Finetuner(Backbone(s.base, s.shape, ""), s.texts, method, settings, jobs)
    batch = ready.load(0, 0, 1, [side.rows] * count)
    rates = torch.full((count,), RATE, device=s.device)
    named = s.plain.named()
    for n, t in named.items():
        t.requires_grad_(n in ready.tuned)

    def ours() -> list[Tensor]:
        ready.train(True, rates, *batch)
        return [t[0].detach().clone() for _, t in sorted(ready.tuned.items())]

    def theirs() -> list[Tensor]:
        with torch.no_grad(), s.reduced():
            seen = s.teacher.encode_image(s.x, normalize=True)
            scenes = s.teacher.encode_text(s.texts.scenes, normalize=True)
            teacher = s.teacher.logit_scale.exp() * seen @ scenes.T
        both = []
        for loss in ("task", "semantic"):
            s.plain.zero_grad(set_to_none=True)
            with s.reduced():
                value = (
                    task_loss(s.plain.quality(s.x), s.target)
                    if loss == "task"
                    else semantic_loss(s.plain.scenes(s.x, s.texts.scenes), teacher)
                )
            value.backward()
            both.append({n: t.clone() for n in ready.tuned if (t := named[n].grad) is not None})
        combined = regularize("published", *both, STRENGTH)
        decayed = {n: g + settings.weight_decay * named[n].detach() for n, g in combined.items()}
        return [named[n].detach() - RATE * g for n, g in sorted(decayed.items())]

    return Work({"plain": theirs, "ours": ours}, _apart, 1 / count, count)


def meta_training(s: Setting) -> Work:
    """One support step and one query step of the released inner loop: Adam, prompts only, dropout on each image's prompts.

    Compared are the losses, the second of which sees the first step: where a gradient is all but zero Adam's step keeps the
    sign of what rounding left, so the prompts themselves say less.
    """
    named = s.plain.named()
    for n, t in named.items():
        t.requires_grad_(n in s.prompts)
    batch = s.x, s.target
    blocks, (_, count, width) = s.shape.vision_layers, s.prompts["visual.prompt_embeddings"].shape

    def ours() -> list[Tensor]:
        drop = s.masks()

        def loss(theta: Tensors, batch: meta.Batch) -> Tensor:
            clip = PromptedCLIP(s.base | theta, s.shape)
            ones = torch.ones((len(batch[0]), count, width), device=s.device)
            masks = torch.stack([drop(ones) for _ in range(blocks)])
            with s.reduced():
                image = clip.image(batch[0], masks)
                return task_loss(clip.logits(image, clip.quality_text(s.texts.quality)), batch[1])

        inner = meta.Inner(s.prompts, RELEASED.inner, RELEASED.inner_rate)
        _, (support, query) = meta.visit(s.prompts, inner, [batch], [batch], loss, RELEASED)
        return [torch.tensor(support + query)]

    def theirs() -> list[Tensor]:
        s.plain.drop = s.masks()
        with torch.no_grad():
            for n, t in s.prompts.items():
                named[n].copy_(t)
        optimizer, losses = torch.optim.Adam([named[n] for n in s.prompts], lr=RELEASED.inner_rate), []
        for _ in range(2):
            optimizer.zero_grad()
            with s.reduced():
                loss = task_loss(s.plain.quality(s.x), s.target)
            loss.backward()
            optimizer.step()
            losses.append(float(loss.detach()))
        return [torch.tensor(losses)]

    return Work({"plain": theirs, "ours": ours}, _apart)


def splits(s: Setting, count: int = 10, size: int = 10_073, epochs: int = 400, plain_count: int = 0) -> Work:
    """Few-shot fine-tuning on ``count`` splits of KonIQ-10k's size (10,073 generated images) by the published schedule.

    The plain recipe does the first ``plain_count`` of them, which are independent (0: all).
    """
    shots, side = len(s.target), s.shape.image_size + 20
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (size, 3, side, side), dtype=np.uint8)
    quality = rng.uniform(size=size)
    method, published = published_schedule(s, epochs)
    placed, jobs = crops.place(images, s.device), []
    for split in range(count):
        order = rng.permutation(size)
        train, test = order[:shots], order[size - size // 5 :]
        sides = [Subset(placed, quality, rows) for rows in (train, test)]
        jobs.append(SplitData(split, s.prompts, *sides))
    backbone, prefixes = Backbone(s.base, s.shape, ""), loop.tuned_names(s.shape, method.train, TUNED)

    def ours() -> list[Tensor]:
        groups = [jobs] if s.device.type == "cuda" else [[job] for job in jobs]
        found = [o for group in groups for o in finetune(backbone, s.texts, method, published, group)]
        return [torch.from_numpy(o.scores) for o in found if not o.failure]

    def theirs() -> list[Tensor]:
        one = partial(plain.adapt_split, s.base, s.shape, s.texts, prefixes, published)
        return [torch.from_numpy(one(job, s.device)) for job in jobs[: plain_count or count]]

    return Work({"plain": theirs, "ours": ours}, _apart, (plain_count or count) / count)


WORK = {
    "evaluation": evaluation,
    "adaptation": adaptation,
    "ten_adaptations": partial(adaptation, count=10),
    "meta_training": meta_training,
    "splits": splits,
}
ON_GPU = ("splits", "ten_adaptations")  # left out elsewhere, unless asked for: they take too long
