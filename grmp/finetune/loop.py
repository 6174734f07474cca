"""Few-shot fine-tuning with the gradient rule, from top to bottom: the second contribution of the paper.

A split's K labelled images train the text context and the last blocks of both towers (or what else the method names). For
every batch:

    load         the images' features in front of the first trained block, and the teacher's scene logits
    losses       the task loss, eq. (2), and the semantic loss, eq. (3), from one forward pass
    gradients    of each loss
    rule         combines the two (gradient_rules.py)
    step         of SGD

Everything below the trained blocks is frozen, so features and teacher are computed once per crop (feature_cache.py), for
later calls too if they are given the same store. Splits differ only in their trained tensors, images and random numbers;
several are trained side by side (grmp.clip.vmap), each with its own seeds, learning rate and end: texts, rule and step as one
batch, images split by split. What is trained, the losses, the crops and the schedule follow finetune.py of the released code
under "published" and a sound protocol otherwise (docs/departures.md, 8 to 13 and 20).

Letters: S splits, B images, L tokens, D width, C texts.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from grmp.clip import checkpoints, lora, stem
from grmp.clip.graphs import Recording
from grmp.clip.model import (
    Backbone,
    PromptDropout,
    PromptedCLIP,
    Shape,
    Tensors,
    cut,
    pixels,
    semantic_loss,
    task_loss,
)
from grmp.clip.precision import reduced
from grmp.clip.vmap import each_split, stack_params, vmap_splits
from grmp.data.crops import Crop, Images, centre, crop, cropped, draw_batches, draw_crops, spare
from grmp.errors import UserError
from grmp.finetune.early_stopping import EarlyStopping
from grmp.finetune.feature_cache import Compute, FeatureStore, budget
from grmp.finetune.gradient_rules import angle, regularize
from grmp.finetune.types import SplitData, SplitResult, Texts
from grmp.params import Adapt, Tune

TEST_BATCH = {"cpu": 64, "cuda": 256}  # test images of a split


def finetune(
    backbone: Backbone,
    texts: Texts,
    method: Tune,
    settings: Adapt,
    splits: Sequence[SplitData],
    store: FeatureStore | None = None,
) -> list[SplitResult]:
    """Fine-tune on each split and score its test images; a split that fails does not affect the others.

    Splits with equally many labels are trained side by side. Alone or with others, results are equal up to the order of
    float sums. ``store`` keeps frozen features for later calls with the same backbone.
    """
    found: dict[int, SplitResult] = {}
    for labels in sorted({len(s.train.rows) for s in splits}):
        group = [i for i, s in enumerate(splits) if len(s.train.rows) == labels]
        # no name is bound to the fine-tuner: the next one needs its memory
        results = Finetuner(backbone, texts, method, settings, [splits[i] for i in group], store).run()
        found |= dict(zip(group, results, strict=True))
    return [found[i] for i in range(len(splits))]


@dataclass
class SplitState:
    """Progress of one split."""

    data: SplitData
    targets: np.ndarray  # (K,) float32
    rng: np.random.Generator  # order of the labelled images
    features: Compute  # of training crops
    teacher: Compute  # its scene logits for training crops
    test_features: Compute  # of test crops
    rate: float
    stopping: EarlyStopping | None
    result: SplitResult


class Finetuner:
    """Fine-tunes splits with equally many labels side by side; one that fails or ends is dropped."""

    def __init__(
        self,
        backbone: Backbone,
        texts: Texts,
        method: Tune,
        settings: Adapt,
        splits: Sequence[SplitData],
        store: FeatureStore | None = None,
    ) -> None:
        """Set up every split; nothing is trained yet."""
        self.backbone, self.method, self.settings = backbone, method, settings
        self.shape, self.device = backbone.shape, backbone.device
        self.texts = Texts(*(cut(t).to(self.device) for t in (texts.quality, texts.scenes)))
        self.first = first_trained_block(self.shape, method.train, settings.tuned_blocks)
        # with dropout, features of training images change at every step behind the first visual prompts
        dropped = settings.prompt_dropout and "visual.prompt_embeddings" in splits[0].prompts
        self.first_changing = min(self.first, 0) if dropped else self.first
        prefixes = tuned_names(self.shape, method.train, settings.tuned_blocks)
        parts = [split_tuned(self._initial(s), prefixes) for s in splits]
        # frozen prompts may differ between splits (random ones do); every other frozen tensor is the backbone's
        self.one_start = all(s.prompts is splits[0].prompts for s in splits)
        own = set() if self.one_start else set(splits[0].prompts)
        self.shared = {n: t for n, t in parts[0][1].items() if n not in own}
        if not parts[0][0]:
            raise UserError("this method trains nothing: check its train, adapt.tuned_blocks and prompts.visual_tokens")
        self.tuned = {n: t.requires_grad_() for n, t in stack_params([tuned for tuned, _ in parts]).items()}  # (S, ...)
        self.frozen = stack_params([{n: t for n, t in frozen.items() if n in own} for _, frozen in parts])  # (S, ...)
        self.velocity: Tensors = {}  # of SGD with momentum
        self.splits = self._states(splits, [frozen for _, frozen in parts], store)
        self.recordings = {"train": Recording(), "train on the task alone": Recording(), "score": Recording()}

    def run(self) -> list[SplitResult]:
        """Train, then score the test images; results in the order of the splits."""
        settings, method, everyone = self.settings, self.method, self.splits
        if settings.select == "test":
            self._evaluate(-1)
        for epoch in tqdm(range(settings.epochs), "epochs", leave=False, delay=5, disable=None):
            splits = self.splits
            batches = [draw_batches(s.data.train.rows, settings, s.rng) for s in splits]
            rates = torch.tensor([s.rate for s in splits], device=self.device)
            sums, angles = np.zeros((2, len(splits))), torch.full((len(splits),), torch.nan)
            for number in range(len(batches[0])):
                members = [b[number] for b in batches]  # positions among the labelled images
                batch = self.load(epoch, number, len(batches[0]), members)
                seeds = [[settings.seed, s.data.split, epoch, number] for s in splits]
                dropout = PromptDropout(settings.prompt_dropout, splits[0].data.prompts, seeds)
                # without a rule the semantic gradient is needed for the reported angle only
                wanted = method.rule != "none" or epoch % settings.angle_every == 0
                losses, angles = self.train(wanted, rates, *batch, *dropout.masks(len(members[0])))
                values = losses.double().cpu().numpy()
                for split, finite in zip(splits, np.isfinite(values).all(axis=0), strict=True):
                    place = f"epoch {epoch}, batch {number}, learning rate {split.rate:g}"
                    if not (finite or split.result.failure):
                        split.result = SplitResult(failure=f"loss is not finite at {place}")
                if all(s.result.failure for s in splits):
                    break
                sums += values * len(members[0]) / len(splits[0].targets)
            for split, (task, semantic), turned in zip(splits, sums.T, angles.tolist(), strict=True):
                row = {"epoch": epoch, "learning_rate": split.rate, "task_loss": task, "semantic_loss": semantic}
                if not split.result.failure:
                    split.result.history.append(row | {"angle_deg": turned})
            self._keep([s.result.failure is None for s in splits])
            if self.splits and settings.select == "test":
                self._keep(self._evaluate(epoch))
            if not self.splits:
                break
        if self.splits and settings.select != "test":
            for split, scores in zip(self.splits, self._predict(), strict=True):
                split.result.scores = scores
        self._keep([False] * len(self.splits))
        return [s.result for s in everyone]

    # ------------------------------------------------------------------------------------------------------------ set-up

    def _initial(self, data: SplitData) -> Tensors:
        """Every tensor of the prompted CLIP before training."""
        p = self.backbone.weights | data.prompts
        if "lora" not in self.method.train:
            return p
        generator = torch.Generator().manual_seed(1000 * self.settings.seed + data.split)
        names = lora.adapted(self.shape, self.settings.tuned_blocks)
        return p | lora.start(p, names, self.settings.lora_rank, generator)

    def _states(
        self, splits: Sequence[SplitData], frozen: Sequence[Tensors], store: FeatureStore | None
    ) -> list[SplitState]:
        """The splits before training; those with the same images, visual prompts and teacher share their caches."""
        settings, by_test = self.settings, self.settings.select == "test"
        if store:
            assert store.backbone is self.backbone
            store.release()
            trained = tested = store
        else:
            total = budget(settings, self.device)
            # test features are read again if epochs are chosen by them, or if several splits share them
            visual = [{n: t for n, t in s.prompts.items() if n.startswith("visual.")} for s in splits]
            again = by_test or len({checkpoints.digest(prompts, {}) for prompts in visual}) < len(splits)
            trained = FeatureStore(self.backbone, total / 2 if again else total)
            tested = FeatureStore(self.backbone, total / 2 if again else 0.0)
        trained_values = sum(t[0].numel() for t in self.tuned.values())
        states = []
        for data, of_split in zip(splits, frozen, strict=True):
            targets = data.train.quality[data.train.rows].astype(np.float32)
            if settings.label_scale == "set":
                span = np.ptp(targets)  # 0 where all labels are equal, as for one
                targets = (targets - targets.min()) / span if span > 0 else np.full_like(targets, 0.5)
            state = SplitState(
                data,
                targets,
                np.random.default_rng([settings.seed, data.split]),
                self._features(data, of_split, data.train.images, self.first_changing, trained),
                self._teacher(data, trained),
                self._features(data, of_split, data.test.images, self.first, tested),
                settings.learning_rate,
                EarlyStopping(settings, data.test.quality[data.test.rows]) if by_test else None,
                SplitResult(trained_values=trained_values),
            )
            states.append(state)
        return states

    def _features(self, data: SplitData, frozen: Tensors, images: Images, block: int, store: FeatureStore) -> Compute:
        """Features of crops in front of a block."""
        clip, precision = PromptedCLIP(frozen, self.shape), self.settings.precision
        if block < 0:  # the images, which are in memory or mapped to it
            return loader(images, clip)
        # in front of the first block there is no prompt yet
        visual = {n: frozen[n] for n in data.prompts if block and n in frozen and n.startswith("visual.")}
        key = "features", id(images), block, precision, checkpoints.digest(visual, {})
        return store.cached(key, lambda: of_crops(lambda x: clip.features(x, block), images, clip, precision))

    def _teacher(self, data: SplitData, store: FeatureStore) -> Compute:
        """Scene logits of the teacher for training crops, (B, C)."""
        teacher, precision = PromptedCLIP(data.teacher or self.backbone.weights, self.shape), self.settings.precision
        images, scenes = data.train.images, self.texts.scenes

        def make() -> Compute:
            with torch.no_grad():
                embedded = teacher.text(scenes)
            return of_crops(lambda x: teacher.logits(teacher.image(x), embedded), images, teacher, precision)

        key = "teacher", id(images), precision, id(data.teacher), checkpoints.digest({"scenes": scenes}, {})
        return store.cached(key, make)

    def _keep(self, wanted: Sequence[bool]) -> None:
        """Drop the other splits, and store the tensors of those that end well if they were asked for."""
        for i, (split, is_wanted) in enumerate(zip(self.splits, wanted, strict=True)):
            if split.data.keep and not (is_wanted or split.result.failure):
                tensors = ({n: t[i].detach() for n, t in p.items()} for p in (self.tuned, self.frozen))
                split.result.tensors = self._clip(*tensors).weights
        if not all(wanted):
            which = [i for i, is_wanted in enumerate(wanted) if is_wanted]
            self.splits = [self.splits[i] for i in which]
            parts = self.tuned, self.frozen, self.velocity
            self.tuned, self.frozen, self.velocity = ({n: t.detach()[which] for n, t in p.items()} for p in parts)
            for tensor in self.tuned.values():
                tensor.requires_grad_()
            # they refer to the tensors of all
            self.recordings = {name: Recording() for name in self.recordings}

    # ---------------------------------------------------------------------------------------------------------- one batch

    def _clip(self, tuned: Tensors, frozen: Tensors) -> PromptedCLIP:
        """The CLIP of one split."""
        return PromptedCLIP(lora.effective(self.shared | frozen | tuned), self.shape)

    def load(self, epoch: int, number: int, batches: int, members: list[np.ndarray]) -> list[Tensor]:
        """Features (S, B, ...), teacher's scene logits (S, B, C), targets and weights (S, B) of a batch."""
        inputs = []
        for split, chosen in zip(self.splits, members, strict=True):
            train, margin = split.data.train, spare(split.data.train.images, self.shape.image_size)
            rows, drawn = train.rows[chosen], (margin, self.settings, batches, epoch, number, split.data.split)
            crops = draw_crops(rows, *drawn) if cropped(train.images) else centre(rows, 0)
            weights = np.ones(len(chosen)) if train.weights is None else train.weights[rows]
            both = np.stack([split.targets[chosen], weights]).astype(np.float32)
            frozen = split.features(crops), split.teacher(crops)
            inputs.append((*frozen, *torch.from_numpy(both).to(self.device)))
        return [torch.stack(column) for column in zip(*inputs, strict=True)]

    def train(self, semantic_gradient: bool, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """One step: losses (2, S) before it, and the angles (S,) between their gradients.

        Without ``semantic_gradient`` there is nothing for a rule to combine, and the angles are NaN. ``batch`` is the learning
        rates (S,), what ``load`` returned, and the masks of dropout.
        """

        def one(rates: Tensor, *batch: Tensor) -> tuple[Tensor, Tensor]:
            task, semantic = self.losses(*batch)
            angles = self.step(task, semantic if semantic_gradient else None, rates)
            both = torch.stack([task, semantic]).detach()
            return both, torch.full_like(task, torch.nan) if angles is None else angles

        both, angles = self.recordings["train" if semantic_gradient else "train on the task alone"](one, *batch)
        return both, angles

    def losses(self, *batch: Tensor) -> tuple[Tensor, Tensor]:
        """Task and semantic loss (S,) of what ``load`` returned, and the masks of dropout."""
        first, temperature = self.first_changing, self.settings.temperature

        def encode(tuned: Tensors, frozen: Tensors) -> tuple[Tensor, Tensor]:
            clip = self._clip(tuned, frozen)
            return clip.quality_text(self.texts.quality), clip.text(self.texts.scenes)

        def one(tuned: Tensors, frozen: Tensors, texts: tuple[Tensor, Tensor], *batch: Tensor) -> tuple[Tensor, Tensor]:
            features, teacher, target, weight, *masks = batch
            clip = self._clip(tuned, frozen)
            image = clip.image_from(features, first, *masks)
            quality, scenes = (clip.logits(image, text) for text in texts)
            return task_loss(quality, target, weight), semantic_loss(scenes, teacher, temperature)

        tensors = self.tuned, self.frozen
        with reduced(self.device, self.settings.precision):
            task, semantic = each_split(one, *tensors, vmap_splits(encode, *tensors), *batch)
        return task, semantic

    def step(self, task: Tensor, semantic: Tensor | None, rates: Tensor) -> Tensor | None:
        """Combine the gradients of both losses (S,) by the rule and step with the rates (S,).

        Returns the angles (S,) between the gradients, or None without a semantic loss.
        """
        tuned, method, settings = self.tuned, self.method, self.settings
        # splits share no trained tensor, so the gradient of the sum holds the gradient of each
        g_d, g_g = gradients(task.sum(), None if semantic is None else semantic.sum(), tuned)
        angles = None if semantic is None else vmap_splits(angle, g_d, g_g)
        combined = vmap_splits(lambda d, g: regularize(method.rule, d, g, method.strength), g_d, g_g)
        sgd_step(tuned, combined, self.velocity, rates, settings.momentum, settings.weight_decay)
        return angles

    # --------------------------------------------------------------------------------------------------------- evaluation

    @torch.no_grad()
    def _predict(self) -> list[np.ndarray]:
        """Predicted quality of each split's test images, (N test,) each."""
        splits, tensors = self.splits, (self.tuned, self.frozen)
        count = max(len(s.data.test.rows) for s in splits)
        parts = math.ceil(count / TEST_BATCH[self.device.type])
        count += -count % parts if self.device.type == "cuda" else 0  # batches of one size are recorded once
        # splits with fewer test images repeat their last one
        rows = np.stack([np.pad(r, (0, count - len(r)), "edge") for r in (s.data.test.rows for s in splits)])

        def text(*tensors: Tensors) -> Tensor:
            return self._clip(*tensors).quality_text(self.texts.quality)

        def score(tuned: Tensors, frozen: Tensors, text: Tensor, features: Tensor) -> Tensor:
            clip = self._clip(tuned, frozen)
            both = clip.logits(clip.image_from(features, self.first), text)
            return both.to(clip.weights["logit_scale"].dtype).softmax(-1)[:, 0]

        @torch.no_grad()
        def score_batch(texts: Tensor, features: Tensor) -> tuple[Tensor]:
            with reduced(self.device, self.settings.precision):
                return (each_split(score, *tensors, texts, features),)

        scores = []
        with reduced(self.device, self.settings.precision):
            texts = vmap_splits(text, *tensors)
        for part in np.array_split(rows, parts, axis=1):
            features = []
            for split, of_split in zip(splits, part, strict=True):
                margin = spare(split.data.test.images, self.shape.image_size)
                features.append(split.test_features(centre(of_split, margin)))
            scores.append(self.recordings["score"](score_batch, texts, torch.stack(features))[0].cpu().numpy())
        whole = np.concatenate(scores, axis=1)
        return [row[: len(s.data.test.rows)] for row, s in zip(whole, splits, strict=True)]

    def _evaluate(self, epoch: int) -> list[bool]:
        """Update every split's early stopping with its test scores (departure 8); True for splits that continue."""
        # -1, before training, is due as well
        due = epoch % self.settings.evaluate_every == self.settings.evaluate_every - 1
        scores = self._predict() if due else [None] * len(self.splits)
        going = []
        for split, found in zip(self.splits, scores, strict=True):
            assert split.stopping is not None  # select: test
            going.append(not split.stopping.update(found, epoch))
            split.rate, split.result.scores = split.stopping.rate, split.stopping.best
        return going


# -------------------------------------------------------------- frozen features, what is trained, and one SGD step


def loader(images: Images, clip: PromptedCLIP) -> Callable[[Sequence[Crop]], Tensor]:
    """From crops of the images to what the CLIP reads, (B, 3, S, S) normalised pixels or features of its stem."""
    shape, like = clip.shape, clip.weights["logit_scale"]
    return lambda crops: pixels(crop(images, crops, shape.image_size).to(like.device), shape).to(like.dtype)


def of_crops(function: Callable[[Tensor], Tensor], images: Images, clip: PromptedCLIP, precision: str) -> Compute:
    """From crops of the images to what ``function`` makes of what the CLIP reads, without gradients."""
    load, record = loader(images, clip), Recording()

    @torch.no_grad()
    def compute(x: Tensor) -> tuple[Tensor]:
        with reduced(x.device, precision):
            return (function(x),)

    return lambda crops: record(compute, load(crops))[0]


def tuned_names(shape: Shape, train: Sequence[str], blocks: int) -> tuple[str, ...]:
    """Prefixes of the tensors that are trained, from the parts that params.Tune names.

    "blocks" are the last ``blocks`` blocks of both towers with their final LayerNorms (finetune.py, main), "lora" low-rank
    additions to the weights of these blocks (grmp.clip.lora); "norms" are the LayerNorms of all blocks and the final ones;
    "all" is every tensor except the logit scale.
    """
    names: list[str] = []
    if "context" in train:
        names += ["ctx"]
    if "visual_prompts" in train:
        names += ["visual.prompt_", "visual.deep_prompt_"]
    if "blocks" in train and blocks:
        names += [*shape.last_blocks(blocks), "visual.ln_post.", "ln_final."]
    if "norms" in train:
        every = shape.last_blocks(max(shape.vision_layers, shape.text_layers))
        names += [*(f"{block}ln_{n}." for block in every for n in (1, 2)), "visual.ln_post.", "ln_final."]
    if "lora" in train:
        names += [n + part for n in lora.adapted(shape, blocks) for part in (lora.A, lora.B)]
    if "all" in train:
        names += ["visual.", "transformer.", "ln_final.", "token_embedding.", "positional_embedding", "text_projection"]
    return tuple(names)


def first_trained_block(shape: Shape, train: Sequence[str], blocks: int) -> int:
    """The image block in front of which features are frozen; -1 if the patch embedding itself is trained."""
    if "all" in train:
        return -1
    if {"visual_prompts", "norms"} & set(train):
        return 0
    return shape.vision_layers - (min(blocks, shape.vision_layers) if {"blocks", "lora"} & set(train) else 0)


def split_tuned(tensors: Tensors, prefixes: tuple[str, ...]) -> tuple[Tensors, Tensors]:
    """(tuned, frozen) tensors; the tuned ones are fresh leaves that require gradients. A stem is always frozen."""
    trained = (n for n in tensors if n.startswith(prefixes) and not n.startswith(stem.PREFIX))
    tuned = {n: tensors[n].detach().clone().requires_grad_() for n in trained}
    return tuned, {n: t for n, t in tensors.items() if n not in tuned}


def gradients(task: Tensor, semantic: Tensor | None, tuned: Tensors) -> tuple[Tensors, Tensors]:
    """Gradients of both losses from one forward pass, by name; a tensor that a loss does not depend on is left out."""

    def named(loss: Tensor, retain: bool) -> Tensors:
        found = torch.autograd.grad(loss, list(tuned.values()), retain_graph=retain, allow_unused=True)
        return {n: g for n, g in zip(tuned, found, strict=True) if g is not None}

    # if only the context is trained, the scene texts do not depend on it
    depends = semantic is not None and semantic.requires_grad
    g_d = named(task, retain=depends)
    return g_d, (named(semantic, retain=False) if semantic is not None and depends else {})


@torch.no_grad()
def sgd_step(
    tuned: Tensors, gradients: Tensors, velocity: Tensors, rates: Tensor, momentum: float, weight_decay: float
) -> None:
    """The step of torch.optim.SGD in place, with one learning rate per split: tensors are (S, ...), ``rates`` (S,)."""
    for name, gradient in gradients.items():
        gradient = gradient.add(tuned[name], alpha=weight_decay)
        if momentum and name in velocity:
            gradient = torch.add(gradient, velocity[name], alpha=momentum, out=velocity[name])
        elif momentum:
            velocity[name] = gradient
        tuned[name].addcmul_(rates.view(-1, *[1] * (gradient.dim() - 1)), gradient, value=-1)
