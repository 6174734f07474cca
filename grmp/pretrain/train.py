"""The ``pretrain`` stage: visit every task of every database, step the meta prompts, keep a checkpoint per epoch.

One outer step follows all tasks of one database, as in pretrain.py of the released code. Random numbers come from generators
seeded with (seed, epoch, database), those of dropout with the task, too, so an interrupted run that resumes after its last
complete epoch ends at the same weights.
"""

import threading
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
import torch
from torch import Tensor
from tqdm import tqdm

from grmp.clip import checkpoints, stem_cache
from grmp.clip.model import Backbone, Tensors, prompted_texts, random_prompts, tokenize
from grmp.code import code_digest
from grmp.data import databases, dataset
from grmp.data.crops import Images, place
from grmp.data.dataset import Dataset
from grmp.device import choose_device, cpus, tf32
from grmp.errors import UserError
from grmp.files import sha256_of, whole, write_text
from grmp.params import Params, Pretrain, Triplets, Variant
from grmp.pretrain import meta, triplets
from grmp.pretrain.tasks import draw, load, tasks_of

Models = dict[str, tuple[Tensors, torch.optim.Optimizer]]  # tensors and optimiser of each model, by name


def pretrain(params: Params, root: Path, name: str) -> None:
    """Learn the prompts of variant ``name``: ``models/prompts/<name>.safetensors`` and ``results/pretrain/<name>.csv``.

    The checkpoint holds the prompts of ``pretrain.seeds`` independent runs, the table the losses of the first. Raises
    UserError for a database without distortion labels, or a loss that is not finite.
    """
    params = params.under(params.variants[name].protocol)
    settings, variant, p = params.pretrain, params.variants[name], params.prompts
    used = settings.databases + ([settings.target] if settings.select == "target" else [])
    # support and query images; of the target the latter
    views = {d: params.pretrain_views if d in settings.databases else params.pretrain_views[1:] for d in used}
    loaded = {d: [dataset.load(root / "data/prepared" / d, view) for view in views[d]] for d in used}
    device = choose_device(params.adapt.device, settings.threads)
    backbone = checkpoints.load(root, device, params.backbone.normalize)
    tokens = tokenize(prompted_texts(p.classes, p.text_tokens))
    identity = _identity(params, name, loaded, backbone)
    target = root / "models/prompts" / f"{name}.safetensors"
    kept = [Checkpoint(target.with_name(f".partial.{name}.{seed}.pt"), identity) for seed in range(settings.seeds)]
    if _up_to_date(target, identity) and (root / "results/pretrain" / f"{name}.csv").is_file():
        for checkpoint in kept:  # a kill may have come just before
            checkpoint.path.unlink(missing_ok=True)
        print(f"{target} is up to date")
        return

    images = {}
    for d, sides in loaded.items():
        once = {
            v: place(stem_cache.inputs(root, side, backbone), device) for v, side in zip(views[d], sides, strict=True)
        }
        images[d] = [once[view] for view in views[d]]
    # runs are independent; on a CPU several at a time, which changes no number, and all of them where each has one thread, so
    # that no core is idle; but order 2 chooses torch's attention kernel, for the whole process
    stop = threading.Event()

    def learn(run: int, checkpoint: Checkpoint) -> State:
        try:
            return _learn(params, name, loaded, images, backbone, tokens, stop, run, checkpoint)
        except BaseException:  # a loss that is not finite: the other runs end with their task
            stop.set()
            raise

    alone = device.type == "cuda" or (isinstance(variant, Variant) and variant.order == 2)
    at_once = 1 if alone else len(kept) if settings.threads == 1 else max(1, cpus() // settings.threads)
    with ThreadPoolExecutor(at_once) as pool:
        try:
            learned = list(pool.map(learn, range(len(kept)), kept))
        except BaseException:  # Ctrl-C
            stop.set()
            raise
    write_text(root / "results/pretrain" / f"{name}.csv", pd.DataFrame(learned[0].rows).to_csv(index=False))
    stated = {"variant": variant.model_dump(), "pretrain": _settings(settings)}
    metadata = {"identity": identity, "backbone": backbone.sha256} | stated
    checkpoints.save(target, checkpoints.joined([state.prompts for state in learned]), metadata)
    for checkpoint in kept:
        checkpoint.path.unlink(missing_ok=True)


def _learn(
    params: Params,
    name: str,
    loaded: dict[str, list[Dataset]],
    images: dict[str, list[Images]],
    backbone: Backbone,
    tokens: Tensor,
    stop: threading.Event,
    run: int,
    checkpoint: "Checkpoint",
) -> "State":
    """One run of pre-training, with seed ``pretrain.seed + run``; its losses and final prompts."""
    settings, variant, p = params.pretrain, params.variants[name], params.prompts
    settings = settings.model_copy(update={"seed": settings.seed + run})
    tasks: dict[str, list[Any]] = {}
    for d in settings.databases:
        of_levels, index = isinstance(variant, Triplets), loaded[d][0].index
        tasks[d] = list(triplets.tasks_of(d, index, settings) if of_levels else tasks_of(d, index))
    if settings.drop_last_task:  # departure 4: every loop is as long as the first database's
        tasks = {d: t[: len(tasks[settings.databases[0]])] for d, t in tasks.items()}
    device = backbone.device
    generator = torch.Generator().manual_seed(settings.seed)
    theta = random_prompts(backbone.shape, p.visual_tokens, p.visual_layers, p.text_tokens, p.norm, generator)
    theta = {n: t.to(device) for n, t in theta.items()}
    learner: MetaLearner | triplets.Learner = (
        triplets.Learner(theta, variant, settings, backbone, p.dropout)
        if isinstance(variant, Triplets)
        else MetaLearner(theta, variant, settings, backbone, tokens, p.dropout)
    )
    state = checkpoint.load(learner.models)
    visits = sum(map(len, tasks.values()))
    title = f"pretrain {name}, seed {settings.seed}"
    print(f"{title}: {settings.epochs} epochs of {visits} tasks, from epoch {state.epoch}", flush=True)
    done, total = state.epoch * visits, settings.epochs * visits
    with tqdm(total=total, initial=done, desc=title, unit="task", disable=None) as bar:
        for epoch in range(state.epoch, settings.epochs):
            for number, (database, of_database) in enumerate(tasks.items()):
                seed = [settings.seed, epoch, number]
                rng = np.random.default_rng(seed)
                for i in rng.permutation(len(of_database)).tolist():
                    if stop.is_set():
                        return state
                    start = time.perf_counter()
                    if number > 0:  # pretrain.py makes a new inner Adam for each task of the second database
                        learner.renew()
                    batches: Any = learner.batches(of_database[i], images[database], rng)
                    losses = learner.visit(batches, [*seed, i])
                    visited = {"epoch": epoch, "database": database, "task": of_database[i].distortion}
                    state.rows.append(_row(name, variant, visited, losses, time.perf_counter() - start))
                    bar.update()
                learner.outer_step()
            if settings.select == "target":
                last = settings.target
                value = target_srcc(backbone, learner.prompts, tokens, loaded[last][-1], images[last][-1])
                if value > state.best:
                    state.best, state.prompts = value, {n: t.detach().clone() for n, t in learner.prompts.items()}
            state.epoch = epoch + 1
            checkpoint.save(state, learner.models)
    return replace(state, prompts=state.prompts or learner.prompts)


class MetaLearner:
    """The meta prompts, the inner model, and the directions of the tasks visited since the last outer step.

    ``triplets.Learner`` has the same interface.
    """

    def __init__(
        self, theta: Tensors, variant: Variant, settings: Pretrain, backbone: Backbone, tokens: Tensor, dropout: float
    ) -> None:
        """Start from ``theta``."""
        self.variant, self.settings, self.backbone = variant, settings, backbone
        self.tokens, self.dropout = tokens, dropout
        self.outer = meta.Outer(theta, variant.outer, variant.outer_rate)
        self.prompts = self.outer.theta  # the meta prompts
        self.fresh = partial(meta.Inner, self.prompts, variant.inner, variant.inner_rate)
        self.inner, self.directions = self.fresh(), list[Tensors]()
        self.models: Models = {"outer": (self.prompts, self.outer.optimizer)}
        if variant.reset == "never":
            self.models["inner"] = self.inner.prompts, self.inner.optimizer

    def batches(
        self, task: Any, images: list[Images], rng: np.random.Generator
    ) -> tuple[list[meta.Batch], list[meta.Batch]]:
        """The support and query batches of a visit."""
        size, device = self.backbone.shape.image_size, self.backbone.device
        support, query = draw(task, self.settings, rng)
        queries = [load(images[1], *batch, size, device) for batch in query]
        return [load(images[0], *batch, size, device, rng) for batch in support], queries

    def visit(self, batches: tuple[list[meta.Batch], list[meta.Batch]], seed: Sequence[int]) -> meta.Losses:
        """Visit one task; ``seed`` is that of dropout."""
        if self.variant.reset == "task":
            self.inner = self.fresh()
        dropout = meta.PromptDropout(self.dropout, self.prompts, [seed])
        loss = meta.quality_loss(self.backbone, self.tokens, dropout)
        direction, losses = meta.visit(self.prompts, self.inner, *batches, loss, self.variant)
        self.directions.append(direction)
        return losses

    def renew(self) -> None:
        """Forget the moments of the inner optimiser; a model that is reset at each task has none to forget."""
        self.inner.optimizer.state.clear()

    def outer_step(self) -> None:
        """Step the meta prompts against the mean direction of the tasks."""
        self.outer.step(self.directions)
        self.directions = []


def _row(
    name: str, variant: Variant | Triplets, place: dict[str, Any], losses: meta.Losses, seconds: float
) -> dict[str, Any]:
    """One row of results/pretrain/<name>.csv: the mean losses of a visit."""
    support, query = (float(np.mean(part)) for part in losses)
    if not np.isfinite([support, query]).all():
        key = "rate" if isinstance(variant, Triplets) else "inner_rate"
        raise UserError(
            f"pretrain@{name}: loss is not finite at epoch {place['epoch']}, {place['database']}, task {place['task']}, "
            f"{key.replace('_', ' ')} {getattr(variant, key):g}; lower variants.{name}.{key}"
        )
    return place | {"support_loss": support, "query_loss": query, "seconds": round(seconds, 3)}


def target_srcc(backbone: Backbone, prompts: Tensors, tokens: Tensor, target: Dataset, images: Images) -> float:
    """SRCC on a whole database, by which the released code chooses its checkpoint (departure 7).

    Images that are not part of the study are left out: the released list of LIVE Challenge has 1,162.
    """
    index = target.index["image"]
    clip, rows = backbone.prompted(prompts), np.flatnonzero(~index.isin(databases.excluded(target.name, index)))
    with torch.no_grad():
        text = clip.quality_text(tokens)
    return float(scipy.stats.spearmanr(clip.score(images, rows, text), target.index["quality"].to_numpy()[rows])[0])


def _settings(settings: Pretrain) -> dict[str, Any]:
    """The settings that determine the prompts of one variant."""
    return settings.model_dump(exclude={"variants"} | ({"target"} if settings.select != "target" else set()))


def _identity(params: Params, name: str, loaded: dict[str, list[Dataset]], backbone: Backbone) -> str:
    """Digest of everything that determines the learned prompts."""
    views = params.pretrain_views
    images = {
        d: [s.info["views"][v] for s, v in zip(sides, views[-len(sides) :], strict=True)] for d, sides in loaded.items()
    }
    used = {
        "variant": params.variants[name].model_dump(),
        "prompts": params.prompts.model_dump(),
        "databases": images,
        "pretrain": _settings(params.pretrain),
        "backbone": backbone.sha256,
        "normalize": params.backbone.normalize,
        "code": code_digest("grmp.pretrain.train"),
    }
    return sha256_of(used | ({"tf32": True} if tf32() else {}))


def _up_to_date(path: Path, identity: str) -> bool:
    """True if ``path`` is the checkpoint of this identity."""
    try:
        return bool(checkpoints.read(path, "", only_metadata=True)[1].get("identity") == identity)
    except UserError:
        return False


@dataclass
class State:
    """What an interrupted pre-training needs to resume, besides the models."""

    epoch: int = 0
    rows: list[dict[str, Any]] = field(default_factory=list)
    best: float = -1.0  # SRCC of the best epoch (select: target)
    prompts: Tensors = field(default_factory=dict)  # of that epoch


@dataclass(frozen=True)
class Checkpoint:
    """State, models and optimisers after an epoch, in one file."""

    path: Path
    identity: str

    def save(self, state: State, models: Models) -> None:
        """Replace the file; it appears complete or not at all."""
        kept = {name: [tensors, optimizer.state_dict()] for name, (tensors, optimizer) in models.items()}
        with whole(self.path) as beside:
            torch.save({"identity": self.identity, "state": vars(state), "models": kept}, beside)

    def load(self, models: Models) -> State:
        """Copy the file's values into ``models`` and return its state; a fresh one if it is missing, stale or corrupt."""
        device = next(iter(next(iter(models.values()))[0].values())).device
        try:
            kept = torch.load(self.path, map_location="cpu", weights_only=True)
            if kept["identity"] != self.identity:  # it covers the shapes of all tensors
                return State()
        except Exception:  # the reader raises many types
            return State()
        with torch.no_grad():
            for name, (tensors, optimizer) in models.items():
                found, moments = kept["models"][name]
                for n, t in tensors.items():
                    t.copy_(found[n])
                optimizer.load_state_dict(moments)  # which moves them to the device of its tensors
        state = State(**kept["state"])
        return replace(state, prompts={n: t.to(device) for n, t in state.prompts.items()})
