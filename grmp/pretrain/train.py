"""The ``pretrain`` stage: visit every task of every pre-training database, step the meta-prompts, keep a checkpoint an epoch.

One outer step follows all tasks of one database, as in pretrain.py of the released code. Every draw comes from a generator
seeded with (seed, epoch, database, task), so an interrupted run that takes up its last epoch ends at the same weights.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from pydantic import Field, TypeAdapter
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

from grmp.clip import checkpoints as checkpoints
from grmp.clip import model as clip
from grmp.clip.model import Backbone, Tensors
from grmp.code import code_digest
from grmp.data import dataset as databases
from grmp.data.crops import Images, centre, crop, place
from grmp.data.dataset import Dataset
from grmp.device import choose_device, free_bytes
from grmp.errors import UserError
from grmp.files import sha256_of, write_text
from grmp.params import Params, Pretrain, Triplets, Variant
from grmp.pretrain import meta, triplets

STATE: dict[str, TypeAdapter[Any]] = {  # what half a pre-training tells beside its tensors
    "epoch": TypeAdapter(Annotated[int, Field(ge=0)]),
    "rows": TypeAdapter(list[dict[str, int | float | str]]),
    "best": TypeAdapter(float),
}


def pretrain(params: Params, world: Path, name: str) -> None:
    """Learn the meta-prompts of variant ``name``: ``models/prompts/<name>.safetensors`` and ``results/pretrain/<name>.csv``.

    Raises
    ------
    UserError
        For a database without distortion labels, or a loss that is not finite.
    """
    params = params.under(params.variants[name].protocol)
    settings, variant, p = params.pretrain, params.variants[name], params.prompts
    wanted = settings.databases + ([settings.target] if settings.select == "target" else [])
    loaded = {d: databases.load(world / "data/prepared" / d) for d in wanted}
    tasks: dict[str, list[Any]] = {}
    for d in settings.databases:
        if isinstance(variant, Triplets):
            tasks[d] = triplets.tasks_of(d, loaded[d].index, settings.support, settings.seed)
        else:
            tasks[d] = meta.tasks_of(d, loaded[d].index)
    if settings.drop_last_task:  # departure 4: every loop is as long as the first database's
        tasks = {d: t[: len(tasks[settings.databases[0]])] for d, t in tasks.items()}
    device = choose_device(params.adapt.device, settings.threads)
    backbone = checkpoints.load(world, device, params.backbone.normalize)
    shape = backbone.shape
    tokens = clip.tokenize(clip.prompted_texts(p.classes, p.text_tokens)).to(device)
    identity = _identity(params, world, name, loaded, backbone)
    target, partial = (world / "models/prompts" / f"{pre}{name}.safetensors" for pre in ("", ".partial."))
    if _holds(target, identity) and (world / "results/pretrain" / f"{name}.csv").is_file():
        partial.unlink(missing_ok=True)  # a kill may have come just before
        print(f"{target} is there and holds")
        return

    generator = torch.Generator().manual_seed(settings.seed)
    theta = clip.random_prompts(shape, p.visual_tokens, p.visual_layers, p.text_tokens, p.norm, generator)
    theta = {n: t.to(device) for n, t in theta.items()}
    learner: Any = triplets.Learner(theta, variant) if isinstance(variant, Triplets) else meta.Learner(theta, variant)
    state = _restore(partial, identity, learner.models)
    best: float = state["best"]
    best_theta = {n: state["theta"].get(n, t).detach().clone() for n, t in learner.prompts.items()}
    rows: list[dict[str, Any]] = state["rows"]

    pictures = {d: place(db.images, device) for d, db in loaded.items()}
    visits_an_epoch = sum(len(t) for t in tasks.values())
    print(
        f"pretrain {name}: {settings.epochs} epochs of {visits_an_epoch} tasks, from epoch {state['epoch']}", flush=True
    )
    done_before, total = (n * visits_an_epoch for n in (state["epoch"], settings.epochs))
    bar = tqdm(total=total, initial=done_before, desc=f"pretrain {name}", unit="task", disable=None)
    for epoch in range(state["epoch"], settings.epochs):
        for number, (database, of_database) in enumerate(tasks.items()):
            rng = np.random.default_rng([settings.seed, epoch, number])
            view = _view(pictures[database], shape.image_size, device)
            order = [int(i) for i in rng.permutation(len(of_database))]
            size = tasks_at_once(backbone, settings.support_batch, p.visual_tokens, variant)
            for group in (order[i : i + size] for i in range(0, len(order), size)):
                start = time.perf_counter()
                drops = [_dropout(p.dropout, settings.seed, epoch, number, index, device) for index in group]
                losses = _visits(learner, [of_database[i] for i in group], settings, view, backbone, tokens, drops, rng)
                seconds = (time.perf_counter() - start) / len(group)
                for index, (support_losses, query_losses) in zip(group, losses, strict=True):
                    task = of_database[index]
                    rows.append(
                        {
                            "epoch": epoch,
                            "database": database,
                            "task": task.distortion,
                            "support_loss": float(np.mean(support_losses)),
                            "query_loss": float(np.mean(query_losses)),
                            "seconds": round(seconds, 3),
                        }
                    )
                    if not np.isfinite([rows[-1]["support_loss"], rows[-1]["query_loss"]]).all():
                        key = "rate" if isinstance(variant, Triplets) else "inner_rate"
                        raise UserError(
                            f"pretrain@{name}: loss is not finite at epoch {epoch}, {database}, task {task.distortion}, "
                            f"{key.replace('_', ' ')} {getattr(variant, key):g}; lower variants.{name}.{key}"
                        )
                    bar.update()
            learner.close()
        if settings.select == "target":
            value = _target_srcc(backbone, learner.prompts, tokens, loaded[settings.target])
            if value > best:
                best, best_theta = value, {n: t.detach().clone() for n, t in learner.prompts.items()}
        _keep(partial, identity, epoch + 1, learner.models, rows, best, best_theta)
    bar.close()
    learned = best_theta if settings.select == "target" else learner.prompts
    write_text(world / "results/pretrain" / f"{name}.csv", pd.DataFrame(rows).to_csv(index=False))
    metadata = {
        "identity": identity,
        "backbone": backbone.sha256,
        "variant": variant.model_dump(),
        "pretrain": settings.model_dump(),
    }
    checkpoints.save(target, learned, metadata)
    partial.unlink(missing_ok=True)


def tasks_at_once(backbone: Backbone, pictures: int, prompts: int, variant: Variant | Triplets) -> int:
    """Tasks that are visited as one, if each starts from the meta parameters: as many as half of a GPU's free memory holds.

    One on a CPU. ``pictures`` of a batch, ``prompts`` of a block; some 30 numbers a token, channel and block stay for the
    backward pass.
    """
    device, shape = backbone.weights["logit_scale"].device, backbone.shape
    if device.type == "cpu" or isinstance(variant, Triplets) or variant.reset == "never":
        return 1
    tokens = (shape.image_size // shape.patch_size) ** 2 + 1 + prompts
    floats = 30 * pictures * tokens * shape.vision_width * shape.vision_layers
    return max(1, int(free_bytes(device) / 2 / (4 * floats)))


def _visits(
    learner: Any,
    tasks: list[meta.Task],
    settings: Pretrain,
    view: meta.View,
    backbone: Backbone,
    tokens: Tensor,
    drops: list[meta.Drop | None],
    rng: np.random.Generator,
) -> list[tuple[list[float], list[float]]]:
    """Losses on the support and on the query batches of each task."""

    def loss(drop: meta.Drop | None) -> meta.Loss:
        return _loss(_embed(backbone, drop), backbone, tokens)

    if len(tasks) > 1:
        batches = [learner.batches(task, settings, view, rng) for task in tasks]
        blocks = sum(prompt is not None for prompt in clip.visual_prompts(learner.prompts, backbone.shape))
        found: list[tuple[list[float], list[float]]] = learner.visit_together(batches, loss, drops, blocks)
        return found
    of_one = _embed(backbone, drops[0]) if isinstance(learner, triplets.Learner) else loss(drops[0])
    return [learner.visit(tasks[0], settings, view, of_one, rng)]


def _embed(backbone: Backbone, drop: Callable[[Tensor], Tensor] | None) -> triplets.Embed:
    """Embeddings of pictures under given prompts."""

    def embed(prompts: Tensors, images: Tensor) -> Tensor:
        p, shape = backbone.weights | prompts, backbone.shape
        return clip.image_embedding(p, clip.pixels(images, shape), shape, drop)

    return embed


def _loss(embed: triplets.Embed, backbone: Backbone, tokens: Tensor) -> meta.Loss:
    """Eq. (2) of a batch under given prompts."""

    def loss(prompts: Tensors, batch: meta.Batch) -> Tensor:
        p = backbone.weights | prompts
        text = clip.text_embedding(p, tokens, backbone.shape, p["ctx"])
        return clip.task_loss(clip.logits(p, embed(prompts, batch[0]), text), batch[1])

    return loss


def _dropout(rate: float, *seed_and_device: Any) -> Callable[[Tensor], Tensor] | None:
    """The prompts' dropout, from a generator of this visit's own."""
    *seed, device = seed_and_device
    if not rate:
        return None
    generator = torch.Generator(device).manual_seed(int(np.random.SeedSequence(seed).generate_state(1)[0]))

    def drop(x: Tensor) -> Tensor:
        kept = torch.rand(x.shape, generator=generator, device=device) >= rate
        return x * kept / (1 - rate)

    return drop


def _view(images: Images, size: int, device: torch.device) -> meta.View:
    """Batches of pictures: with a generator each gets a random crop and flip (support), else the centre (query)."""
    margin = images.shape[-1] - size

    def view(rows: np.ndarray, targets: np.ndarray, rng: np.random.Generator | None) -> meta.Batch:
        if rng is None:
            crops = centre(rows, margin)
        else:
            draws = rng.integers(0, [margin + 1, margin + 1, 2], size=(len(rows), 3))
            crops = [(int(r), int(y), int(x), bool(f)) for r, (y, x, f) in zip(rows, draws, strict=True)]
        return crop(images, crops, size).to(device), torch.from_numpy(np.asarray(targets, np.float32)).to(device)

    return view


@torch.no_grad()
def _target_srcc(backbone: Backbone, theta: Tensors, tokens: Tensor, target: Dataset) -> float:
    """SRCC on a whole database: how the released code chooses its checkpoint (departure 7)."""
    p, shape = backbone.weights | theta, backbone.shape
    text, scores = clip.text_embedding(p, tokens, shape, p["ctx"]), []
    view = _view(target.images, shape.image_size, text.device)
    for rows in np.array_split(np.arange(len(target.images)), len(target.images) // 64 + 1):
        x, _ = view(rows, rows, None)
        scores.append(
            clip.logits(p, clip.image_embedding(p, clip.pixels(x, shape), shape), text).softmax(-1)[:, 0].cpu()
        )
    return float(spearmanr(torch.cat(scores).numpy(), target.index["quality"])[0])


def _identity(params: Params, world: Path, name: str, loaded: dict[str, Dataset], backbone: Backbone) -> str:
    """What a checkpoint must agree with to be taken up again."""
    variant = params.variants[name]
    return sha256_of(
        {
            "variant": variant.model_dump(),
            "pretrain": params.pretrain.model_dump(),
            "prompts": params.prompts.model_dump(),
            "databases": {d: db.info["sha256"] for d, db in loaded.items()},
            "backbone": backbone.sha256,
            "normalize": params.backbone.normalize,
            "code": code_digest(
                *(["grmp.pretrain.triplets"] if isinstance(variant, Triplets) else []), "grmp.pretrain.meta"
            ),
        }
    )


def _holds(path: Path, identity: str) -> bool:
    """True if this very checkpoint is there already."""
    try:
        return bool(checkpoints.read(path, "")[1].get("identity") == identity)
    except UserError:
        return False


def _keep(
    partial: Path, identity: str, epoch: int, models: meta.Models, rows: list[Any], best: float, theta: Tensors
) -> None:
    """Checkpoint after an epoch: the models' parameters with their optimisers' states, and the best prompts so far."""
    tensors: Tensors = {f"best/{n}": t for n, t in theta.items()}
    for side, (parameters, optimizer) in models.items():
        tensors |= {f"{side}/{n}": t for n, t in parameters.items()}
        for i, entry in optimizer.state_dict()["state"].items():
            tensors |= {f"{side}.state/{i}/{k}": torch.as_tensor(v) for k, v in entry.items() if v is not None}
    checkpoints.save(partial, tensors, {"identity": identity, "epoch": epoch, "rows": rows, "best": best})


def _restore(partial: Path, identity: str, models: meta.Models) -> dict[str, Any]:
    """Take up a checkpoint of this very run, if there is one: its epoch, the rows so far, the best prompts and their value."""
    fresh: dict[str, Any] = {"epoch": 0, "rows": [], "best": -1.0, "theta": {}}
    try:
        tensors, metadata = checkpoints.read(partial, "run this again")
        kept = {side: {n: tensors[f"{side}/{n}"] for n in parameters} for side, (parameters, _) in models.items()}
        fits = all(
            kept[side][n].shape == t.shape for side, (parameters, _) in models.items() for n, t in parameters.items()
        )
        if metadata.get("identity") != identity or not fits:
            return fresh
        state = {name: adapter.validate_python(metadata[name]) for name, adapter in STATE.items()}
    except (UserError, KeyError, ValueError):
        return fresh  # none, or damaged: start anew
    with torch.no_grad():
        for side, (parameters, _) in models.items():
            for n, t in parameters.items():
                t.copy_(kept[side][n])
    for side, (_, optimizer) in models.items():
        moments: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            head, *rest = key.split("/")
            if head == f"{side}.state":
                moments.setdefault(int(rest[0]), {})[rest[1]] = tensor
        optimizer.load_state_dict(optimizer.state_dict() | {"state": moments})
    theta = {key.removeprefix("best/"): tensor for key, tensor in tensors.items() if key.startswith("best/")}
    return state | {"theta": {n: t.to(next(iter(parameters.values())).device) for n, t in theta.items()}}
