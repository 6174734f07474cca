"""Few-shot adaptation: one split's K labelled pictures move the text context and the last blocks of both towers.

What is trained, the losses, the crops and the schedule follow finetune.py of the released code where the settings say
"published" and a sound protocol where they do not (params.Adapt; docs/departures.md, 8 to 13). The visual prompts and the
lower blocks are frozen, so the tokens in front of the first tuned block and the teacher's scene logits are kept per
(picture, crop) and computed once.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import pearsonr, spearmanr
from torch import Tensor

from grmp import clip
from grmp.clip import Backbone, Shape, Tensors
from grmp.params import Adapt, Tune
from grmp.regularize import angle, regularize

Crop = tuple[int, int, int, bool]  # row of the picture in the array, top, left, flipped
TEACHER_SCENE = "a photo of a {}"  # finetune.py, IQACLIP
LOWEST_RATE = 5e-7  # finetune.py: the search stops below it


@dataclass
class Outcome:
    """What one split gave."""

    scores: np.ndarray  # (N test,) predicted quality
    history: list[dict[str, float]] = field(default_factory=list)
    trained_values: int = 0


class SplitFailure(Exception):
    """This split cannot be finished (a loss that is not finite); the message says where. The rest goes on."""


def tuned_names(shape: Shape, train: Sequence[str], blocks: int) -> tuple[str, ...]:
    """Prefixes of the tensors that are trained, from the parts that params.Tune names.

    "blocks" are the last ``blocks`` blocks of both towers with their final LayerNorms (finetune.py, main); "all" is every
    tensor but the scale of the logits.
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
    if "all" in train:
        names += ["visual.", "transformer.", "ln_final.", "token_embedding.", "positional_embedding", "text_projection"]
    return tuple(names)


def first_trained_block(shape: Shape, train: Sequence[str], blocks: int) -> int:
    """Image block in front of which the frozen features can be kept; -1 if the pixels' embedding itself is trained."""
    if "all" in train:
        return -1
    if "visual_prompts" in train:
        return 0
    return shape.vision_layers - (min(blocks, shape.vision_layers) if "blocks" in train else 0)


def split_tuned(tensors: Tensors, prefixes: tuple[str, ...]) -> tuple[Tensors, Tensors]:
    """(tuned, frozen): the first are fresh leaves that require gradients."""
    tuned = {n: t.detach().clone().requires_grad_() for n, t in tensors.items() if n.startswith(prefixes)}
    return tuned, {n: t for n, t in tensors.items() if n not in tuned}


def finish_image(p: Tensors, kept: Tensor, shape: Shape, first: int) -> Tensor:
    """From what is kept in front of block ``first`` (B, L, D), or from pixels if it is -1, to the embedding (B, E)."""
    x = clip.embed_patches(p, kept) if first < 0 else kept
    return clip.pool_image(p, clip.image_blocks(p, x, shape, max(first, 0), shape.vision_layers))


def losses(
    p: Tensors,
    kept: Tensor,
    first: int,
    texts: "Texts",
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


@dataclass(frozen=True)
class Texts:
    """Token ids (C, 77) of the quality texts, whose context is trained, and of the scene texts."""

    quality: Tensor
    scenes: Tensor


class Cache:
    """Frozen features and the teacher's scene logits of (picture, crop), least recently used out first."""

    def __init__(self, compute: Callable[[Sequence[Crop]], tuple[Tensor, Tensor]], budget: float) -> None:
        """``compute`` maps crops to (features (B, ...), logits (B, C)); ``budget`` is in bytes, 0 keeps nothing."""
        self.compute, self.budget = compute, budget
        self.kept: OrderedDict[Crop, tuple[Tensor, Tensor]] = OrderedDict()

    def get(self, crops: Sequence[Crop]) -> tuple[Tensor, Tensor]:
        """Features and logits of these crops, computing those not kept in one batch."""
        missing = [c for c in dict.fromkeys(crops) if c not in self.kept]
        fresh = dict(zip(missing, zip(*self.compute(missing), strict=True), strict=True)) if missing else {}
        pairs = [fresh[c] if c in fresh else self.kept[c] for c in crops]
        for crop in crops:
            if crop in fresh:
                self.kept[crop] = fresh[crop]
            self.kept.move_to_end(crop)
        size = sum(t.nbytes for t in pairs[0])
        while len(self.kept) * size > self.budget:
            self.kept.popitem(last=False)
        return torch.stack([t for t, _ in pairs]), torch.stack([s for _, s in pairs])


def crop(images: np.ndarray, crops: Sequence[Crop], size: int) -> Tensor:
    """(N, 3, S, S) uint8 array, crops -> (B, 3, size, size) uint8."""
    views = [images[r, :, y : y + size, x : x + size] for r, y, x, _ in crops]
    out = torch.from_numpy(np.stack([v[:, :, ::-1] if c[3] else v for v, c in zip(views, crops, strict=True)]))
    return out


def centre(rows: Iterable[int], margin: int) -> list[Crop]:
    """The test crops."""
    return [(int(r), margin // 2, margin // 2, False) for r in rows]


def draw_crops(
    rows: np.ndarray, margin: int, settings: Adapt, batches: int, epoch: int, batch: int, seed: int
) -> list[Crop]:
    """Crops of a training batch.

    As published (departure 12): one offset for the whole batch, flipped where the column offset is below the middle, from a
    generator seeded with the step's number. Otherwise per picture, from a generator of its own; with ``views`` > 0 each
    picture has that many crops, which come round.
    """
    if settings.crops == "batch":
        generator = torch.Generator().manual_seed(batches * epoch + batch)
        top, left, _ = torch.randint(max(1, margin), (3,), generator=generator).tolist()
        return [(int(r), top, left, left < margin // 2) for r in rows]
    view = epoch % settings.views if settings.views else epoch
    out = []
    for row in rows:
        rng = np.random.default_rng([settings.seed, seed, int(row), view])
        top, left, flip = rng.integers(0, [margin + 1, margin + 1, 2])
        out.append((int(row), int(top), int(left), bool(flip)))
    return out


def draw_batches(rows: np.ndarray, settings: Adapt, rng: np.random.Generator) -> list[np.ndarray]:
    """Positions into ``rows``, shuffled; as published the last batch is what remains (departure 11), else all are even."""
    order, size = rng.permutation(len(rows)), settings.batch
    if settings.batches == "even":
        return np.array_split(order, math.ceil(len(rows) / size))
    return [order[i : i + size] for i in range(0, len(rows), size)]


def adapt(
    backbone: Backbone,
    prompts: Tensors,
    texts: Texts,
    method: Tune,
    settings: Adapt,
    images: np.ndarray,
    quality: np.ndarray,
    train: np.ndarray,
    test: np.ndarray,
    split: int,
    report: Callable[[int], None] = lambda epoch: None,
) -> Outcome:
    """Adapt to one split and score its test pictures.

    Parameters
    ----------
    images, quality
        The prepared array (N, 3, S, S) uint8 and quality (N,) in [0, 1].
    train, test
        Row positions. ``test`` is read once, at the end, unless ``settings.select`` is "test" (departure 8).

    Raises
    ------
    SplitFailure
        If a loss is not finite.
    """
    shape, device = backbone.shape, backbone.weights["logit_scale"].device
    margin = images.shape[-1] - shape.image_size
    tuned, frozen = split_tuned(backbone.weights | prompts, tuned_names(shape, method.train, settings.tuned_blocks))
    first = first_trained_block(shape, method.train, settings.tuned_blocks)
    autocast = torch.autocast(device.type, getattr(torch, settings.precision), settings.precision != "float32")

    with torch.no_grad():
        teacher_texts = clip.text_embedding(backbone.weights, texts.scenes, shape)

    def pixels(crops: Sequence[Crop]) -> Tensor:
        return clip.pixels(crop(images, crops, shape.image_size).to(device), shape)

    @torch.no_grad()
    def trunk_and_teacher(crops: Sequence[Crop]) -> tuple[Tensor, Tensor]:
        with autocast:
            x = pixels(crops)
            seen = clip.image_embedding(backbone.weights, x, shape)
            kept = x if first < 0 else clip.image_blocks(frozen, clip.embed_patches(frozen, x), shape, 0, first)
            return kept, clip.logits(backbone.weights, seen, teacher_texts)

    @torch.no_grad()
    def predict() -> np.ndarray:
        p, scores = frozen | tuned, []
        with autocast:
            text = clip.text_embedding(p, texts.quality, shape, p.get("ctx"))
            for rows in np.array_split(test, math.ceil(len(test) / 64)):
                image = clip.image_embedding(p, pixels(centre(rows, margin)), shape)
                quality_logits = clip.logits(p, image, text).float()
                scores.append(F.softmax(quality_logits, dim=-1)[:, 0].cpu().numpy())
        return np.concatenate(scores)

    targets = quality[train].astype(np.float32)
    if settings.label_scale == "set":
        targets = (targets - targets.min()) / (targets.max() - targets.min())
    cache = Cache(trunk_and_teacher, settings.cache_gb * 2**30)
    optimizer = torch.optim.SGD(
        tuned.values(), lr=settings.learning_rate, momentum=settings.momentum, weight_decay=settings.weight_decay
    )
    rng = np.random.default_rng([settings.seed, split])
    search = Search(settings, quality[test]) if settings.select == "test" else None
    if search:
        search.see(predict(), -1, optimizer)
    history: list[dict[str, float]] = []
    for epoch in range(settings.epochs):
        rate = optimizer.param_groups[0]["lr"]
        batches = draw_batches(train, settings, rng)
        sums, turned = np.zeros(2), math.nan
        for number, members in enumerate(batches):
            crops = draw_crops(train[members], margin, settings, len(batches), epoch, number, split)
            kept, teacher = cache.get(crops)
            target = torch.from_numpy(targets[members]).to(device)
            with autocast:
                task, semantic = losses(
                    frozen | tuned, kept, first, texts, target, teacher, shape, settings.temperature
                )
            values = np.array([float(task.detach()), float(semantic.detach())])
            if not np.isfinite(values).all():
                raise SplitFailure(f"loss is not finite at epoch {epoch}, batch {number}, learning rate {rate:g}")
            # without a rule the semantic gradient only tells the angle
            wanted = method.rule != "none" or epoch % settings.angle_every == 0
            g_d, g_g = gradients(task, semantic if wanted else None, tuned)
            turned = angle(g_d, g_g) if wanted else math.nan
            if settings.pair_gradients == "position":
                g_g = by_position(g_d, g_g)
            for name, gradient in regularize(method.rule, g_d, g_g, method.strength).items():
                tuned[name].grad = gradient
            optimizer.step()
            sums += values * len(members) / len(train)
        history.append(
            {"epoch": epoch, "learning_rate": rate, "task_loss": sums[0], "semantic_loss": sums[1], "angle_deg": turned}
        )
        report(epoch)
        if search:
            looked = epoch % settings.evaluate_every == settings.evaluate_every - 1
            if search.see(predict() if looked else None, epoch, optimizer):
                break
    scores = search.best if search else predict()
    return Outcome(scores, history, sum(t.numel() for t in tuned.values()))


class Search:
    """The published selection (departure 8): best epoch, learning rate and stopping all read the test split."""

    def __init__(self, settings: Adapt, truth: np.ndarray) -> None:
        """``truth`` is the quality of the test pictures, in their order."""
        self.settings, self.truth = settings, truth
        self.best, self.best_sum, self.last_sum, self.waited = np.empty(0), -math.inf, -math.inf, 0

    def see(self, scores: np.ndarray | None, epoch: int, optimizer: torch.optim.Optimizer) -> bool:
        """Take in an evaluation (None between two of them); True when the search is over."""
        if scores is not None:
            self.waited += epoch >= 0
            self.last_sum = float(pearsonr(scores, self.truth)[0] + spearmanr(scores, self.truth)[0])
            if self.last_sum > self.best_sum or not len(self.best):
                self.best, self.best_sum, self.waited = scores, self.last_sum, 0
        if self.waited >= self.settings.patience and epoch > 10:
            self.waited = 0
            optimizer.param_groups[0]["lr"] *= 0.3
            return bool(optimizer.param_groups[0]["lr"] < LOWEST_RATE)
        return False
