"""The ``attribution`` stage: which patches raise a model's score, and its image embeddings, before and after fine-tuning.

Relevance is by integrated gradients (Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017) of the
logit of the score, along the straight line from a constant image of the same mean colour to the image itself, summed over
each patch. The patches add up to the difference between the logits of the two images (completeness; the error of the finite
sum is kept as ``gap``). So a map states which patches raise the score above that of an image without structure, and which
lower it. The embeddings are shown on their first two principal components.
"""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grmp.clip.model import pixels, tokenize
from grmp.data.crops import centre, crop, spare
from grmp.device import cpus
from grmp.experiments.run import check
from grmp.files import whole, write_text
from grmp.finetune.scorer import QualityModel
from grmp.finetune.types import TEACHER_SCENE
from grmp.methods import tune
from grmp.methods.context import open_context
from grmp.params import Params, RunKey, Tune

STEPS = 32  # points on the line; the gap that they leave is written beside the maps
POWER = 3  # of midpoints: near the constant image a little structure moves the logit most (bench/steps.py)
BEFORE = "before"


def relevance(model: QualityModel, x: Tensor, steps: int = STEPS, power: int = POWER) -> tuple[Tensor, Tensor]:
    """Integrated gradients of ``model.logit`` on normalised pixels (B, 3, S, S), per patch: (B, S / patch, S / patch).

    They add up to the difference of the logit to that of the constant image, except for the error of the sum over ``steps``
    points, which is returned as well: (B,).
    """
    flat = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    total = torch.zeros_like(x)
    for middle in (np.arange(steps) + 0.5) / steps:
        at = (flat + middle**power * (x - flat)).detach().requires_grad_()
        total += power * middle ** (power - 1) / steps * torch.autograd.grad(model.logit(at).sum(), at)[0]
    each = ((x - flat) * total).sum(1, keepdim=True)
    maps = F.avg_pool2d(each, model.clip.shape.patch_size)[:, 0] * model.clip.shape.patch_size**2
    with torch.no_grad():
        gap = model.logit(x) - model.logit(flat) - maps.sum((1, 2))
    return maps, gap


def principal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First two principal components of (N, E), and the share of the variance that each explains: (N, 2) and (2,)."""
    centred = x - x.mean(0)
    _, s, axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    # the sign, which is arbitrary, makes the largest weight of each component positive
    axes = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(1)])[:, None]
    return centred @ axes.T, s[:2] ** 2 / np.sum(s**2)


def attribution(params: Params, root: Path, database: str) -> None:
    """Write ``results/attribution/<database>.csv`` and ``.npz`` (docs/design.md). Raises UserError as ``run.check``."""
    settings = params.attribution
    models: dict[str, QualityModel] = {}
    keys = [RunKey(params.protocol, database, name, settings.shots) for name in settings.methods]
    check(params, root, keys)
    for name, key in zip(settings.methods, keys, strict=True):
        context = open_context(params, root, key)
        # the model of the last epoch is kept, whatever a protocol selects by
        context = replace(context, params=context.params.changed({"adapt.select": "fixed"}))
        method, shape = context.params.methods[name], context.backbone.shape
        assert isinstance(method, Tune)  # checked when the settings are read
        texts, job = tune.split_data(context, method)
        data = job(settings.split)
        models.setdefault(BEFORE, QualityModel.of(context.backbone.weights | data.prompts, shape, texts.quality))
        tensors = tune.tuned(context, name, texts, data.untested(), "choose another attribution.split")
        models[name] = QualityModel.of(tensors, shape, texts.quality)
    rows = context.tested.test(settings.split)
    index, images = context.target.index.iloc[rows], context.target.images
    order = np.argsort(index["quality"].to_numpy(), kind="stable")
    chosen = np.concatenate([order[: settings.images], order[-settings.images :]])  # the worst and the best
    shown = crop(images, centre(rows[chosen], spare(images, shape.image_size)), shape.image_size)
    given = context.inputs(context.target)
    scenes, clip = params.adapt.scenes, context.backbone  # the scene that the teacher finds most probable
    text = clip.text(tokenize([TEACHER_SCENE.format(s) for s in scenes])).detach()
    best = clip.map(lambda x: clip.logits(clip.image(x), text).argmax(-1), given, rows)
    table = index[["image", "quality"]].assign(scene=[scenes[i] for i in best.tolist()])
    maps, explained = {}, {}
    for name, model in models.items():
        embedded = model.clip.map(model.clip.image, given, rows)
        with torch.no_grad():
            both = model.clip.logits(embedded.to(context.device), model.text)
        xy, explained[name] = principal(embedded.numpy())
        table[[f"x_{name}", f"y_{name}"]] = xy
        table[f"score_{name}"] = both.softmax(-1)[:, 0].cpu().numpy()
        with ThreadPoolExecutor(cpus()) as pool:
            # image by image, so that no number depends on how many cores there are
            parts = pool.map(partial(relevance, model), pixels(shown.to(context.device), shape).split(1))
        maps[name] = [torch.cat(part).cpu().numpy() for part in zip(*parts, strict=True)]
    folder = root / "results/attribution"
    write_text(folder / f"{database}.csv", table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    with whole(folder / f"{database}.npz") as beside, beside.open("wb") as file:
        np.savez_compressed(
            file,
            models=np.array(list(models)),
            images=index["image"].to_numpy()[chosen].astype(str),
            pixels=shown.numpy(),
            relevance=np.stack([m for m, _ in maps.values()]).astype(np.float32),
            gap=np.stack([g for _, g in maps.values()]).astype(np.float32),
            explained=np.stack(list(explained.values())),
        )
