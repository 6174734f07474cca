"""The ``pretrain`` stage: visit every task of every pre-training database, step the meta-prompts, keep a checkpoint an epoch.

One outer step follows all tasks of one database, as in pretrain.py of the released code. Every draw comes from a generator
seeded with (seed, epoch, database, task), so an interrupted run that takes up its last epoch ends at the same weights.
"""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

from grmp import backbone as checkpoints
from grmp import clip, meta
from grmp.adapt import centre, crop
from grmp.clip import Backbone, Tensors
from grmp.databases import prepared as databases
from grmp.databases.prepared import Prepared
from grmp.errors import UserError
from grmp.files import sha256, sha256_of, write_text
from grmp.params import Params
from grmp.sweep import choose_device

CODE = ("clip.py", "meta.py", "pretrain.py")


def pretrain(params: Params, world: Path, name: str) -> None:
    """Learn the meta-prompts of variant ``name``: ``models/prompts/<name>.safetensors`` and ``results/pretrain/<name>.csv``.

    Raises
    ------
    UserError
        For an unknown variant, a database without distortion labels, or a loss that is not finite.
    """
    if name not in params.variants:
        raise UserError(f"variant '{name}' is not defined in params.yaml; known: {', '.join(sorted(params.variants))}")
    params = params.under(params.variants[name].protocol)
    settings, variant, p = params.pretrain, params.variants[name], params.prompts
    wanted = settings.databases + ([settings.target] if settings.select == "target" else [])
    loaded = {d: databases.load(world / "data/prepared" / d) for d in wanted}
    tasks = {d: meta.tasks_of(d, loaded[d].index) for d in settings.databases}
    if settings.drop_last_task:  # departure 4: every loop is as long as the first database's
        tasks = {d: t[: len(tasks[settings.databases[0]])] for d, t in tasks.items()}
    device = choose_device(params.adapt.device, settings.threads)
    backbone = checkpoints.load(world, device, params.backbone.normalize)
    shape = backbone.shape
    tokens = clip.tokenize(clip.prompted_texts(p.classes, p.text_tokens)).to(device)
    identity = _identity(params, world, name, loaded, backbone)
    target, partial = (world / "models/prompts" / f"{pre}{name}.safetensors" for pre in ("", ".partial."))
    if _holds(target, identity) and (world / "results/pretrain" / f"{name}.csv").is_file():
        print(f"{target} is there and holds")
        return

    generator = torch.Generator().manual_seed(settings.seed)
    theta = clip.random_prompts(shape, p.visual_tokens, p.visual_layers, p.text_tokens, p.norm, generator)
    outer = meta.Outer({n: t.to(device) for n, t in theta.items()}, variant.outer, variant.outer_rate)
    inner = meta.Inner(outer.theta, variant.inner, variant.inner_rate)
    state = _restore(partial, identity, outer, inner)
    best: float = state["best"]
    best_theta = {n: t.clone() for n, t in outer.theta.items()}
    rows: list[dict[str, Any]] = state["rows"]

    visits_an_epoch = sum(len(t) for t in tasks.values())
    print(
        f"pretrain {name}: {settings.epochs} epochs of {visits_an_epoch} tasks, from epoch {state['epoch']}", flush=True
    )
    done_before, total = (n * visits_an_epoch for n in (state["epoch"], settings.epochs))
    bar = tqdm(total=total, initial=done_before, desc=f"pretrain {name}", unit="task", disable=None)
    for epoch in range(state["epoch"], settings.epochs):
        for number, (database, of_database) in enumerate(tasks.items()):
            rng = np.random.default_rng([settings.seed, epoch, number])
            images, visits = loaded[database].images, []
            for index in rng.permutation(len(of_database)):
                task, start = of_database[index], time.perf_counter()
                drop = _dropout(p.dropout, settings.seed, epoch, number, int(index), device)
                loss = _loss(backbone, tokens, drop)
                drawn = meta.draw(
                    task,
                    settings.support,
                    settings.split_by,
                    settings.label_scale,
                    settings.support_batch,
                    settings.query_batch,
                    rng,
                )
                size = shape.image_size
                batches = [
                    (_batch(images, *s, size, device, rng), _batch(images, *q, size, device, None)) for s, q in drawn
                ]
                if variant.reset == "task":
                    inner = meta.Inner(outer.theta, variant.inner, variant.inner_rate)
                done = meta.visit(outer.theta, inner, batches, loss, variant)
                visits.append(done)
                rows.append(
                    {
                        "epoch": epoch,
                        "database": database,
                        "task": task.distortion,
                        "support_loss": float(np.mean(done.support_losses)),
                        "query_loss": float(np.mean(done.query_losses)),
                        "seconds": round(time.perf_counter() - start, 3),
                    }
                )
                if not np.isfinite([rows[-1]["support_loss"], rows[-1]["query_loss"]]).all():
                    raise UserError(
                        f"pretrain@{name}: loss is not finite at epoch {epoch}, {database}, task {task.distortion}, "
                        f"inner rate {variant.inner_rate:g}; lower variants.{name}.inner_rate"
                    )
                bar.update()
            outer.step(meta.mean_direction(visits))
        if settings.select == "target":
            value = _target_srcc(backbone, outer.theta, tokens, loaded[settings.target])
            if value > best:
                best, best_theta = value, {n: t.clone() for n, t in outer.theta.items()}
        _keep(partial, identity, epoch + 1, outer, inner, rows, best)
    bar.close()
    learned = best_theta if settings.select == "target" else outer.theta
    write_text(world / "results/pretrain" / f"{name}.csv", pd.DataFrame(rows).to_csv(index=False))
    metadata = {
        "identity": identity,
        "backbone": backbone.sha256,
        "variant": variant.model_dump(),
        "pretrain": settings.model_dump(),
    }
    checkpoints.save(target, learned, metadata)
    partial.unlink(missing_ok=True)


Loss = Callable[[Tensors, meta.Batch], Tensor]


def _loss(backbone: Backbone, tokens: Tensor, drop: Callable[[Tensor], Tensor] | None) -> Loss:
    """Eq. (2) of a batch under given prompts."""

    def loss(prompts: Tensors, batch: meta.Batch) -> Tensor:
        p, shape = backbone.weights | prompts, backbone.shape
        image = clip.image_embedding(p, clip.pixels(batch[0], shape), shape, drop)
        text = clip.text_embedding(p, tokens, shape, p["ctx"])
        return clip.task_loss(clip.logits(p, image, text), batch[1])

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


def _batch(
    images: np.ndarray,
    rows: np.ndarray,
    targets: np.ndarray,
    size: int,
    device: torch.device,
    rng: np.random.Generator | None,
) -> meta.Batch:
    """Pictures and targets; with ``rng`` each picture gets a random crop and flip (support), else the centre (query)."""
    margin = images.shape[-1] - size
    if rng is None:
        crops = centre(rows, margin)
    else:
        draws = rng.integers(0, [margin + 1, margin + 1, 2], size=(len(rows), 3))
        crops = [(int(r), int(y), int(x), bool(f)) for r, (y, x, f) in zip(rows, draws, strict=True)]
    return crop(images, crops, size).to(device), torch.from_numpy(np.asarray(targets, np.float32)).to(device)


@torch.no_grad()
def _target_srcc(backbone: Backbone, theta: Tensors, tokens: Tensor, target: Prepared) -> float:
    """SRCC on a whole database: how the released code chooses its checkpoint (departure 7)."""
    p, shape = backbone.weights | theta, backbone.shape
    text, scores = clip.text_embedding(p, tokens, shape, p["ctx"]), []
    for rows in np.array_split(np.arange(len(target.images)), len(target.images) // 64 + 1):
        x, _ = _batch(target.images, rows, rows, shape.image_size, text.device, None)
        scores.append(
            clip.logits(p, clip.image_embedding(p, clip.pixels(x, shape), shape), text).softmax(-1)[:, 0].cpu()
        )
    return float(spearmanr(torch.cat(scores).numpy(), target.index["quality"])[0])


def _identity(params: Params, world: Path, name: str, loaded: dict[str, Prepared], backbone: Backbone) -> str:
    """What a checkpoint must agree with to be taken up again."""
    here = Path(__file__).parent
    return sha256_of(
        {
            "variant": params.variants[name].model_dump(),
            "pretrain": params.pretrain.model_dump(),
            "prompts": params.prompts.model_dump(),
            "databases": {d: db.info["sha256"] for d, db in loaded.items()},
            "backbone": backbone.sha256,
            "normalize": params.backbone.normalize,
            "code": [sha256(here / file) for file in CODE],
        }
    )


def _holds(path: Path, identity: str) -> bool:
    """True if this very checkpoint is there already."""
    try:
        return bool(checkpoints.read(path, "")[1].get("identity") == identity)
    except UserError:
        return False


def _keep(
    partial: Path, identity: str, epoch: int, outer: meta.Outer, inner: meta.Inner, rows: list[Any], best: float
) -> None:
    """Checkpoint after an epoch: meta and inner parameters with their optimisers' states."""
    tensors = {f"outer/{n}": t for n, t in outer.theta.items()} | {f"inner/{n}": t for n, t in inner.prompts.items()}
    for side, optimizer in (("outer", outer.optimizer), ("inner", inner.optimizer)):
        for i, entry in optimizer.state_dict()["state"].items():
            tensors |= {f"{side}.state/{i}/{k}": torch.as_tensor(v) for k, v in entry.items() if v is not None}
    checkpoints.save(partial, tensors, {"identity": identity, "epoch": epoch, "rows": rows, "best": best})


def _restore(partial: Path, identity: str, outer: meta.Outer, inner: meta.Inner) -> dict[str, Any]:
    """Take up a checkpoint of this very run, if there is one; returns the epoch to start from and the rows so far."""
    fresh = {"epoch": 0, "rows": [], "best": -1.0}
    if not partial.is_file():
        return fresh
    try:
        tensors, metadata = checkpoints.read(partial, "run this again")
    except UserError:
        return fresh  # damaged: start anew
    if metadata.get("identity") != identity:
        return fresh
    with torch.no_grad():
        for side, target in (("outer", outer.theta), ("inner", inner.prompts)):
            for n, t in target.items():
                t.copy_(tensors[f"{side}/{n}"])
    for side, optimizer in (("outer", outer.optimizer), ("inner", inner.optimizer)):
        state: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            head, *rest = key.split("/")
            if head == f"{side}.state":
                state.setdefault(int(rest[0]), {})[rest[1]] = tensor
        optimizer.load_state_dict(optimizer.state_dict() | {"state": state})
    return metadata
