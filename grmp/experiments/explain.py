"""The ``attribution`` stage: where a model looks, and how its embedding lies, before and after adaptation.

Relevance is by integrated gradients (Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017) of the
score's logit - how much nearer the picture lies to "high quality" than to "low quality" - along the straight way from a flat
picture of the same mean colour to the picture itself, summed over each patch. Patches then add up to the difference of the
two pictures' logits (completeness; what the finite sum leaves over is kept as ``gap``), so a map says which patches raised
the score above that of a picture without structure and which lowered it.

The embedding map shows the test pictures' image embeddings on their first two principal components.
"""

from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grmp.clip import checkpoints
from grmp.clip.model import pixels, tokenize
from grmp.data import dataset as databases
from grmp.data import splits as split_files
from grmp.data.crops import centre, crop
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.experiments.runs import settled, split_file
from grmp.files import whole, write_text
from grmp.finetune.loop import finetune
from grmp.finetune.scorer import QualityModel
from grmp.finetune.types import TEACHER_SCENE, SplitData
from grmp.methods import registry as methods
from grmp.params import Params, RunKey, Tune

STEPS = 32  # points on the way; the gap they leave is written beside the maps
BEFORE = "before"


def relevance(eye: QualityModel, x: Tensor, steps: int = STEPS) -> tuple[Tensor, Tensor]:
    """Integrated gradients of ``eye.logit`` on normalised pixels (B, 3, S, S), patch by patch.

    Returns
    -------
    maps (B, S / patch, S / patch)
        They add up to the logit's difference to the flat picture, but for
    gap (B,)
        what the sum over ``steps`` midpoints leaves over.
    """
    flat = x.mean(dim=(2, 3), keepdim=True).expand_as(x)
    total = torch.zeros_like(x)
    for i in range(steps):
        at = (flat + (i + 0.5) / steps * (x - flat)).detach().requires_grad_()
        total += torch.autograd.grad(eye.logit(at).sum(), at)[0]
    pixels = ((x - flat) * total / steps).sum(1, keepdim=True)
    maps = F.avg_pool2d(pixels, eye.clip.shape.patch_size)[:, 0] * eye.clip.shape.patch_size**2
    with torch.no_grad():
        gap = eye.logit(x) - eye.logit(flat) - maps.sum((1, 2))
    return maps, gap


def principal(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First two principal components of (N, E) and the share of the variance that each explains; (N, 2) and (2,).

    The sign, which is free, is such that the largest weight of each component is positive.
    """
    centred = x - x.mean(0)
    _, s, axes = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    axes = axes[:2] * np.sign(axes[:2][np.arange(2), np.abs(axes[:2]).argmax(1)])[:, None]
    return centred @ axes.T, s[:2] ** 2 / np.sum(s**2)


def ends(quality: np.ndarray, count: int) -> np.ndarray:
    """Positions of the ``count`` worst and the ``count`` best pictures by opinion, worst first."""
    order = np.argsort(quality, kind="stable")
    return np.concatenate([order[:count], order[len(order) - count :]])


def look(params: Params, world: Path, database: str) -> None:
    """Write ``results/attribution/<database>.csv`` and ``.npz`` (docs/design.md) for ``attribution.methods``.

    Raises
    ------
    UserError
        If a method cannot be looked into, or what it needs is missing.
    """
    settings = params.attribution
    for name in settings.methods:
        if not isinstance(params.methods.get(name), Tune):
            raise UserError(f"attribution.methods: '{name}' is no method of kind tune that is defined under methods")
    eyes: dict[str, QualityModel] = {}
    for name in settings.methods:
        case = _case(params, world, RunKey(params.protocol, database, name, settings.shots))
        eyes |= _eyes(case, name, settings.split, first=not eyes)
    rows = case.tested.test(settings.split)
    index, images, shape = case.target.index.iloc[rows], case.target.images, case.backbone.shape

    chosen = ends(index["quality"].to_numpy(), settings.pictures)
    shown = crop(images, centre(rows[chosen], images.shape[-1] - shape.image_size), shape.image_size)
    table = index[["image", "quality"]].assign(scene=_scenes(case, images, rows))
    maps, explained = {}, {}
    for name, eye in eyes.items():
        embedded = eye.clip.map(eye.clip.image, images, rows)
        with torch.no_grad():
            both = eye.clip.logits(embedded.to(case.device), eye.text)
        xy, explained[name] = principal(embedded.numpy())
        table[[f"x_{name}", f"y_{name}"]] = xy
        table[f"score_{name}"] = both.softmax(-1)[:, 0].cpu().numpy()
        maps[name] = [t.cpu().numpy() for t in relevance(eye, pixels(shown.to(case.device), shape))]
    folder = world / "results/attribution"
    write_text(folder / f"{database}.csv", table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    with whole(folder / f"{database}.npz") as beside, beside.open("wb") as file:
        np.savez_compressed(
            file,
            models=np.array(list(eyes)),
            images=index["image"].to_numpy()[chosen].astype(str),
            pictures=shown.numpy(),
            relevance=np.stack([m for m, _ in maps.values()]).astype(np.float32),
            gap=np.stack([g for _, g in maps.values()]).astype(np.float32),
            explained=np.stack(list(explained.values())),
        )


def _case(params: Params, world: Path, key: RunKey) -> methods.Case:
    """What the run of this cell looks at."""
    of_run = settled(params, key)
    found = databases.load(world / "data/prepared" / key.database)
    splits = split_files.load(split_file(world, key.database, key.protocol), found.index["image"])
    device = choose_device(of_run.adapt.device, of_run.adapt.threads)
    backbone = checkpoints.load(world, device, of_run.backbone.normalize)
    return methods.Case(of_run, world, found, found, splits, splits, key.shots, backbone, device)


@torch.no_grad()
def _scenes(case: methods.Case, images: np.ndarray, rows: np.ndarray) -> list[str]:
    """The scene text that the frozen teacher finds most probable, image by image."""
    scenes, clip = case.params.adapt.scenes, case.backbone.prompted()
    text = clip.text(tokenize([TEACHER_SCENE.format(s) for s in scenes]).to(case.device))
    found = clip.map(lambda x: clip.logits(clip.image(x), text).argmax(-1), images, rows)
    return [scenes[i] for i in found.tolist()]


def _eyes(case: methods.Case, name: str, split: int, first: bool) -> dict[str, QualityModel]:
    """The method's model after adaptation to one split and, for the ``first``, before it."""
    method, shape = case.params.methods[name], case.backbone.shape
    assert isinstance(method, Tune)  # look has seen to it
    texts, job = methods.jobs(case, method)
    data = replace(job(split), keep=True)
    before = case.backbone.weights | data.prompts
    found = {BEFORE: QualityModel.of(before, shape, texts.quality)} if first else {}
    (ready,) = methods.with_teachers(case, method, texts, [data])
    if not isinstance(ready, SplitData):
        raise UserError(
            f"attribution: the teacher of {name}, split {split}: {ready.failure}; choose another attribution.split"
        )
    (outcome,) = finetune(case.backbone, texts, method, case.params.adapt, [ready])
    if outcome.failure:
        raise UserError(f"attribution: {name}, split {split}: {outcome.failure}; choose another attribution.split")
    assert outcome.tensors is not None  # keep=True
    return found | {name: QualityModel.of(outcome.tensors, shape, texts.quality)}
