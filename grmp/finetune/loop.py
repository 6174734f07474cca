"""Splits with equally many labels, adapted in one batch: the loop over epochs and batches, and the test pictures' scores."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grmp.clip import lora
from grmp.clip import model as clip
from grmp.clip.model import Backbone, Tensors
from grmp.clip.precision import reduced
from grmp.clip.vmap import keep, over_splits, stack
from grmp.data.crops import Crop, Images, centre, crop, draw_batches, draw_crops
from grmp.finetune.early_stopping import Search
from grmp.finetune.feature_cache import Budget, Cache, budget
from grmp.finetune.gradient_rules import angle, regularize
from grmp.finetune.step import (
    by_position,
    descend,
    finish_image,
    first_trained_block,
    gradients,
    losses,
    split_tuned,
    tuned_names,
)
from grmp.finetune.types import SplitData, SplitResult, Texts
from grmp.params import Adapt, Tune

PREDICT_AT_ONCE = 64  # test pictures of a split


def finetune(
    backbone: Backbone, texts: Texts, method: Tune, settings: Adapt, splits: Sequence[SplitData]
) -> list[SplitResult]:
    """Fine-tune on each split and score its test images; a split that fails does not affect the others.

    Splits with equally many labels are computed as one batch. Alone or in a batch, results are equal up to the order of
    float sums.
    """
    found: dict[int, SplitResult] = {}
    for labels in sorted({len(s.train.rows) for s in splits}):
        group = [i for i, s in enumerate(splits) if len(s.train.rows) == labels]
        finetuner = Finetuner(backbone, texts, method, settings, [splits[i] for i in group])
        found |= dict(zip(group, finetuner.run(), strict=True))
    return [found[i] for i in range(len(splits))]


@dataclass
class Progress:
    """One split on its way."""

    job: SplitData
    targets: np.ndarray  # (K,) float32
    rng: np.random.Generator  # of its batches
    rate: float
    caches: tuple[Cache, Cache]  # of training and of test crops
    search: Search | None = None
    history: list[dict[str, float]] = field(default_factory=list)
    scores: np.ndarray = field(default_factory=lambda: np.empty(0))
    tensors: Tensors | None = None
    failure: str | None = None


class Finetuner:
    """Splits with equally many labels, adapted in one batch. A leading dimension S in what is said of shapes."""

    def __init__(
        self, backbone: Backbone, texts: Texts, method: Tune, settings: Adapt, jobs: Sequence[SplitData]
    ) -> None:
        """Set up every split's start; nothing is computed yet."""
        self.backbone, self.texts, self.method, self.settings = backbone, texts, method, settings
        self.shape, self.device = backbone.shape, backbone.weights["logit_scale"].device
        self.first = first_trained_block(self.shape, method.train, settings.tuned_blocks)
        prefixes = tuned_names(self.shape, method.train, settings.tuned_blocks)
        sides = [split_tuned(self._start(job), prefixes) for job in jobs]
        self.tuned = {n: t.requires_grad_() for n, t in stack([tuned for tuned, _ in sides]).items()}
        self.trained_values = sum(t[0].numel() for t in self.tuned.values())
        # frozen prompts may differ between splits (random ones do); all else that is frozen is one for all
        own = set() if all(j.prompts is jobs[0].prompts for j in jobs) else set(jobs[0].prompts)
        self.own = stack([{n: t for n, t in frozen.items() if n in own} for _, frozen in sides])
        self.shared = {n: t for n, t in sides[0][1].items() if n not in own}
        self.velocity: Tensors = {}
        half = budget(settings.cache_gb, self.device).left / 2
        # test pictures are asked for again if epochs are chosen by them, and by other splits
        again = settings.select == "test" or (len(jobs) > 1 and not own)
        budgets = Budget(half if again else 2 * half), Budget(half if again else 0.0)
        known: dict[tuple[int, ...], tuple[Cache, Cache]] = {}
        self.splits = []
        for job, (_, frozen) in zip(jobs, sides, strict=True):
            of = tuple(id(part) for part in (job.prompts, job.teacher, job.train.images, job.test.images))
            if of not in known:
                known[of] = self._caches(job, frozen, budgets)
            targets = job.train.quality[job.train.rows].astype(np.float32)
            if settings.label_scale == "set":
                targets = (targets - targets.min()) / (targets.max() - targets.min())
            search = Search(settings, job.test.quality[job.test.rows]) if settings.select == "test" else None
            rng = np.random.default_rng([settings.seed, job.split])
            self.splits.append(Progress(job, targets, rng, settings.learning_rate, known[of], search))

    def _start(self, job: SplitData) -> Tensors:
        """Every tensor of the prompted CLIP at the start."""
        p = self.backbone.weights | job.prompts
        if "lora" not in self.method.train:
            return p
        generator = torch.Generator().manual_seed(1000 * self.settings.seed + job.split)
        names = lora.adapted(self.shape, self.settings.tuned_blocks)
        return p | lora.start(p, names, self.settings.lora_rank, generator)

    def _pixels(self, images: Images, crops: Sequence[Crop]) -> Tensor:
        x = clip.pixels(crop(images, crops, self.shape.image_size).to(self.device), self.shape)
        return x.to(self.backbone.weights["logit_scale"].dtype)

    def _caches(self, job: SplitData, frozen: Tensors, budgets: tuple[Budget, Budget]) -> tuple[Cache, Cache]:
        """(features in front of the first tuned block, teacher's scene logits) of training crops; features of test crops."""
        weights, shape, first = job.teacher or self.backbone.weights, self.shape, self.first
        with torch.no_grad():
            scenes = clip.text_embedding(weights, self.texts.scenes, shape)

        def trunk(x: Tensor) -> Tensor:
            if first < 0:
                return clip.apply_stem(frozen, x)
            return clip.image_blocks(frozen, clip.embed_patches(frozen, x), shape, 0, first)

        @torch.no_grad()
        def for_training(crops: Sequence[Crop]) -> tuple[Tensor, Tensor]:
            with reduced(self.device, self.settings.precision):
                x = self._pixels(job.train.images, crops)
                return trunk(x), clip.logits(weights, clip.image_embedding(weights, x, shape), scenes)

        @torch.no_grad()
        def for_test(crops: Sequence[Crop]) -> tuple[Tensor]:
            with reduced(self.device, self.settings.precision):
                return (trunk(self._pixels(job.test.images, crops)),)

        return Cache(for_training, budgets[0]), Cache(for_test, budgets[1])

    def _whole(self, tuned: Tensors, own: Tensors) -> Tensors:
        """Every tensor of one split as the towers read it."""
        return lora.effective(self.shared | own | tuned)

    def run(self) -> list[SplitResult]:
        """Adapt, and score the test pictures; in the order of the jobs."""
        everyone, by_test = list(self.splits), self.settings.select == "test"
        if by_test:
            self._look(-1)
        for epoch in range(self.settings.epochs):
            self._epoch(epoch)
            self._go_on_with([s.failure is None for s in self.splits])
            if by_test and self.splits:
                self._go_on_with(self._look(epoch))
            if not self.splits:
                break
        if not by_test and self.splits:
            for split, scores in zip(self.splits, self._predict(), strict=True):
                split.scores = scores
                split.tensors = self.model(split.job.split) if split.job.keep else None
        return [
            SplitResult(failure=s.failure)
            if s.failure
            else SplitResult(s.scores, s.history, self.trained_values, s.tensors)
            for s in everyone
        ]

    def model(self, split: int) -> Tensors:
        """Every tensor of a split's model as it stands, as the towers read it (a split that failed has none)."""
        (at,) = (i for i, s in enumerate(self.splits) if s.job.split == split)
        tuned, own = ({n: t[at].detach() for n, t in side.items()} for side in (self.tuned, self.own))
        return self._whole(tuned, own)

    def _go_on_with(self, wanted: Sequence[bool]) -> None:
        """Let the other splits go."""
        if all(wanted):
            return
        which = [i for i, is_wanted in enumerate(wanted) if is_wanted]
        self.splits = [self.splits[i] for i in which]
        self.tuned = {n: t.requires_grad_() for n, t in keep(self.tuned, which).items()}
        self.own, self.velocity = keep(self.own, which), keep(self.velocity, which)

    def _epoch(self, epoch: int) -> None:
        """One pass over the labelled pictures of every split; a split with a loss that is not finite gets its failure."""
        settings, splits, method = self.settings, self.splits, self.method
        batches = [draw_batches(s.job.train.rows, settings, s.rng) for s in splits]
        rates = torch.tensor([s.rate for s in splits], device=self.device)
        sums, turned = np.zeros((2, len(splits))), torch.full((len(splits),), torch.nan)
        for number in range(len(batches[0])):
            members = [b[number] for b in batches]
            task, semantic = self._losses(epoch, number, len(batches[0]), members)
            values = torch.stack([task, semantic]).detach().double().cpu().numpy()  # (2, S)
            for i in np.flatnonzero(~np.isfinite(values).all(axis=0)).tolist():
                place = f"epoch {epoch}, batch {number}, learning rate {splits[i].rate:g}"
                splits[i].failure = splits[i].failure or f"loss is not finite at {place}"
            if all(s.failure for s in splits):
                return
            # without a rule the semantic gradient only tells the angle
            wanted = method.rule != "none" or epoch % settings.angle_every == 0
            # splits share no tensor that is trained, so the gradient of the sum holds each one's own
            g_d, g_g = gradients(task.sum(), semantic.sum() if wanted else None, self.tuned)
            if wanted:
                turned = over_splits(angle, g_d, g_g)
            if settings.pair_gradients == "position":
                g_g = by_position(g_d, g_g)
            step = over_splits(lambda d, g: regularize(method.rule, d, g, method.strength), g_d, g_g)
            descend(self.tuned, step, self.velocity, rates, settings)
            sums += values * len(members[0]) / sum(len(b) for b in batches[0])
        for i, (split, angle_deg) in enumerate(zip(splits, turned.tolist(), strict=True)):
            row = {"epoch": epoch, "learning_rate": split.rate, "task_loss": sums[0, i], "semantic_loss": sums[1, i]}
            split.history.append(row | {"angle_deg": angle_deg})

    def _losses(self, epoch: int, number: int, batches: int, members: list[np.ndarray]) -> tuple[Tensor, Tensor]:
        """Task and semantic loss (S,) of a batch; ``members`` are positions among the labelled pictures."""
        inputs = []
        for split, chosen in zip(self.splits, members, strict=True):
            train, margin = split.job.train, split.job.train.images.shape[-1] - self.shape.image_size
            crops = draw_crops(train.rows[chosen], margin, self.settings, batches, epoch, number, split.job.split)
            target = torch.from_numpy(split.targets[chosen]).to(self.device)
            inputs.append((*split.caches[0].get(crops), target))
        kept, teacher, target = (torch.stack(column) for column in zip(*inputs, strict=True))  # (S, B, ...)

        def both(tuned: Tensors, own: Tensors, *batch: Tensor) -> tuple[Tensor, Tensor]:
            kept, teacher, target = batch
            p = self._whole(tuned, own)
            return losses(p, kept, self.first, self.texts, target, teacher, self.shape, self.settings.temperature)

        with reduced(self.device, self.settings.precision):
            task, semantic = over_splits(both, self.tuned, self.own, kept, teacher, target)
        return task, semantic

    @torch.no_grad()
    def _predict(self) -> list[np.ndarray]:
        """Probability of the better class of each split's test pictures, (N test,) each."""
        shape, count = self.shape, max(len(s.job.test.rows) for s in self.splits)
        # splits with fewer test pictures repeat their last one
        rows = np.stack([np.pad(r, (0, count - len(r)), "edge") for r in (s.job.test.rows for s in self.splits)])

        def text(tuned: Tensors, own: Tensors) -> Tensor:
            p = self._whole(tuned, own)
            return clip.text_embedding(p, self.texts.quality, shape, p.get("ctx"))

        def score(tuned: Tensors, own: Tensors, text: Tensor, kept: Tensor) -> Tensor:
            p = self._whole(tuned, own)
            quality = clip.logits(p, finish_image(p, kept, shape, self.first), text)
            return F.softmax(quality.to(p["logit_scale"].dtype), dim=-1)[:, 0]

        scores = []
        with reduced(self.device, self.settings.precision):
            texts = over_splits(text, self.tuned, self.own)
            for chunk in np.array_split(rows, math.ceil(count / PREDICT_AT_ONCE), axis=1):
                kept = []
                for split, of_split in zip(self.splits, chunk, strict=True):
                    margin = split.job.test.images.shape[-1] - shape.image_size
                    kept += split.caches[1].get(centre(of_split, margin))
                scores.append(over_splits(score, self.tuned, self.own, texts, torch.stack(kept)).cpu().numpy())
        together = np.concatenate(scores, axis=1)
        return [row[: len(s.job.test.rows)] for row, s in zip(together, self.splits, strict=True)]

    def _look(self, epoch: int) -> list[bool]:
        """Let every split's search see its test scores (departure 8); which of them go on."""
        # -1, before training, is due as well
        due = epoch % self.settings.evaluate_every == self.settings.evaluate_every - 1
        scores = self._predict() if due else [None] * len(self.splits)
        going = []
        for split, seen in zip(self.splits, scores, strict=True):
            assert split.search is not None
            going.append(not split.search.see(seen, epoch))
            split.rate, split.scores = split.search.rate, split.search.best
        return going
