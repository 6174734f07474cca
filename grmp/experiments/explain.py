"""The ``attribution`` stage: where a model looks, and how its embedding lies, before and after adaptation.

Relevance is by integrated gradients (Sundararajan, Taly, Yan: Axiomatic Attribution for Deep Networks, ICML 2017) of the
score's logit - how much nearer the picture lies to "high quality" than to "low quality" - along the straight way from a flat
picture of the same mean colour to the picture itself, summed over each patch. Patches then add up to the difference of the
two pictures' logits (completeness; what the finite sum leaves over is kept as ``gap``), so a map says which patches raised
the score above that of a picture without structure and which lowered it.

The embedding map shows the test pictures' image embeddings on their first two principal components.
"""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from grmp.clip import checkpoints as checkpoints
from grmp.clip import model as clip
from grmp.clip.model import Tensors
from grmp.data import dataset as databases
from grmp.data import splits as split_files
from grmp.data.crops import centre, crop
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.experiments.runs import settled, split_file
from grmp.files import whole, write_text
from grmp.finetune.loop import Finetuner
from grmp.finetune.scorer import Model
from grmp.finetune.types import TEACHER_SCENE, SplitData
from grmp.methods import registry as methods
from grmp.params import Params, RunKey, Tune

STEPS = 32  # points on the way; the gap they leave is written beside the maps
BEFORE = "before"


def relevance(eye: Model, x: Tensor, steps: int = STEPS) -> tuple[Tensor, Tensor]:
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
    maps = F.avg_pool2d(pixels, eye.shape.patch_size)[:, 0] * eye.shape.patch_size**2
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
    """Write ``results/attribution/<database>.csv`` and ``.npz`` (docs/design.md) for the methods of the group ``attribution``.

    Raises
    ------
    UserError
        If a method cannot be looked into, or what it needs is missing.
    """
    settings = params.attribution
    for name in settings.methods:
        if not isinstance(params.methods.get(name), Tune):
            raise UserError(f"attribution.methods: '{name}' is no method of kind tune that is defined under methods")
    eyes: dict[str, Model] = {}
    for name in settings.methods:
        case = _case(params, world, RunKey(params.protocol, database, name, settings.shots))
        eyes |= _eyes(case, name, settings.split, first=not eyes)
    rows = case.tested.test(settings.split)
    index, images, shape = case.target.index.iloc[rows], case.target.images, case.backbone.shape

    def pixels(some: np.ndarray) -> Tensor:
        crops = centre(some, images.shape[-1] - shape.image_size)
        return clip.pixels(crop(images, crops, shape.image_size).to(case.device), shape)

    chosen = ends(index["quality"].to_numpy(), settings.pictures)
    table = index[["image", "quality"]].assign(scene=_scenes(case, pixels, rows))
    maps, explained = {}, {}
    for name, eye in eyes.items():
        with torch.no_grad():
            parts = [eye.embed(pixels(some)) for some in np.array_split(rows, len(rows) // 64 + 1)]
            embedded = torch.cat(parts)
            both = clip.logits(eye.tensors, embedded, eye.text)
        xy, explained[name] = principal(embedded.cpu().numpy())
        table[[f"x_{name}", f"y_{name}"]] = xy
        table[f"score_{name}"] = both.softmax(-1)[:, 0].cpu().numpy()
        maps[name] = [t.cpu().numpy() for t in relevance(eye, pixels(rows[chosen]))]
    folder = world / "results/attribution"
    write_text(folder / f"{database}.csv", table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    shown = crop(images, centre(rows[chosen], images.shape[-1] - shape.image_size), shape.image_size).numpy()
    with whole(folder / f"{database}.npz") as beside, beside.open("wb") as file:
        np.savez_compressed(
            file,
            models=np.array(list(eyes)),
            images=index["image"].to_numpy()[chosen].astype(str),
            pictures=shown,
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
def _scenes(case: methods.Case, pixels: Callable[[np.ndarray], Tensor], rows: np.ndarray) -> list[str]:
    """The scene text that the frozen teacher finds most probable, picture by picture."""
    scenes, weights, shape = case.params.adapt.scenes, case.backbone.weights, case.backbone.shape
    tokens = clip.tokenize([TEACHER_SCENE.format(s) for s in scenes]).to(case.device)
    text = clip.text_embedding(weights, tokens, shape)
    parts = np.array_split(rows, len(rows) // 64 + 1)
    found = [
        clip.logits(weights, clip.image_embedding(weights, pixels(some), shape), text).argmax(-1) for some in parts
    ]
    return [scenes[i] for i in torch.cat(found).tolist()]


def _eyes(case: methods.Case, name: str, split: int, first: bool) -> dict[str, Model]:
    """The method's model after adaptation to one split and, for the ``first``, before it."""
    method, weights = case.params.methods[name], case.backbone.weights
    assert isinstance(method, Tune)  # look has seen to it
    texts, job = methods.jobs(case, method)

    def eye(tensors: Tensors) -> Model:
        with torch.no_grad():
            text = clip.text_embedding(tensors, texts.quality, case.backbone.shape, tensors.get("ctx"))
        return Model(tensors, text, case.backbone.shape)

    found = {BEFORE: eye(weights | job(split).prompts)} if first else {}
    (ready,) = methods.with_teachers(case, method, texts, [job(split)])
    if not isinstance(ready, SplitData):
        raise UserError(
            f"attribution: the teacher of {name}, split {split}: {ready.failure}; choose another attribution.split"
        )
    finetuner = Finetuner(case.backbone, texts, method, case.params.adapt, [ready])
    (outcome,) = finetuner.run()
    if outcome.failure:
        raise UserError(f"attribution: {name}, split {split}: {outcome.failure}; choose another attribution.split")
    return found | {name: eye(finetuner.model(split))}
