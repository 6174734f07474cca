"""The ``steps`` stage: how far a few inner steps bring each distortion type, from meta-learned and from random prompts.

Pre-training promises prompts from which a few steps go far. Here that is measured: for every distortion type of the databases
that ``steps`` names, one support and one query set are drawn as in pre-training, the variant's inner optimiser takes steps on
the support set, and the query pictures are scored on the way. The random start is the very one from which pre-training set
out. Types of a database that pre-training has not seen tell whether it carries over.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor

from grmp.clip import checkpoints as checkpoints
from grmp.clip import model as clip
from grmp.clip.model import Backbone, Tensors
from grmp.data import dataset as databases
from grmp.data.crops import centre, crop
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.files import write_text
from grmp.params import Params, Variant
from grmp.pretrain import meta

COLUMNS = ["start", "database", "seen", "task", "steps", "query_loss", "query_srcc", "pictures"]


def measure(params: Params, world: Path, name: str) -> None:
    """Write ``results/inner_curves/<name>.csv``, one row a (start, task, number of steps); docs/design.md names the columns.

    Raises
    ------
    UserError
        If the variant is unknown, is not meta-learned, or its prompts are not there.
    """
    if name not in params.variants:
        raise UserError(f"variant '{name}' is not defined in params.yaml; known: {', '.join(sorted(params.variants))}")
    variant = params.variants[name]
    if not isinstance(variant, Variant):
        raise UserError(
            f"variant '{name}' is not meta-learned, so it has no inner steps; leave it out of steps.variants"
        )
    params = params.under(variant.protocol)
    settings, p = params.pretrain, params.prompts
    backbone = checkpoints.load(world, choose_device(params.adapt.device, settings.threads), params.backbone.normalize)
    device, shape = backbone.weights["logit_scale"].device, backbone.shape
    generator = torch.Generator().manual_seed(settings.seed)  # as pretrain.py begins
    fresh = clip.random_prompts(shape, p.visual_tokens, p.visual_layers, p.text_tokens, p.norm, generator)
    starts = {"meta": checkpoints.load_prompts(world, name, backbone, p), "random": fresh}
    starts = {kind: {n: t.to(device) for n, t in theta.items()} for kind, theta in starts.items()}
    tokens = clip.tokenize(clip.prompted_texts(p.classes, p.text_tokens)).to(device)

    rows = []
    for number, database in enumerate(params.inner_curves.databases):
        found = databases.load(world / "data/prepared" / database)
        for index, task in enumerate(meta.tasks_of(database, found.index)):
            rng = np.random.default_rng([settings.seed, number, index])
            drawn = meta.draw(
                task, settings.support, settings.split_by, settings.label_scale, settings.support_batch, 2**30, rng
            )
            support = [_batch(found.images, *side, shape.image_size, device) for side, _ in drawn]
            query = _batch(found.images, *drawn[0][1], shape.image_size, device)
            for kind, theta in starts.items():
                inner = meta.Inner(theta, variant.inner, variant.inner_rate)
                for taken, loss, srcc in walk(backbone, tokens, inner, support, query, params.inner_curves.counts):
                    seen = database in settings.databases
                    rows.append((kind, database, seen, task.distortion, taken, loss, srcc, len(query[1])))
    table = pd.DataFrame(rows, columns=COLUMNS)
    path = world / "results/inner_curves" / f"{name}.csv"
    write_text(path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def walk(
    backbone: Backbone,
    tokens: Tensor,
    inner: meta.Inner,
    support: list[meta.Batch],
    query: meta.Batch,
    counts: Sequence[int],
) -> list[tuple[int, float, float]]:
    """(steps taken, query loss, query SRCC) after each of ``counts`` steps; support batches come round."""

    def logits(prompts: Tensors, images: Tensor) -> Tensor:
        p, shape = backbone.weights | prompts, backbone.shape
        image = clip.image_embedding(p, clip.pixels(images, shape), shape)
        return clip.logits(p, image, clip.text_embedding(p, tokens, shape, p["ctx"]))

    def loss(prompts: Tensors, batch: meta.Batch) -> Tensor:
        return clip.task_loss(logits(prompts, batch[0]), batch[1])

    found = []
    for taken in range(max(counts) + 1):
        if taken in counts:
            with torch.no_grad():
                scored = logits(inner.prompts, query[0])
            scores, truth = F.softmax(scored, dim=-1)[:, 0].cpu().numpy(), query[1].cpu().numpy()
            varied = np.ptp(scores) > 0 and np.ptp(truth) > 0
            srcc = float(spearmanr(scores, truth)[0]) if varied else float("nan")
            found.append((taken, float(clip.task_loss(scored, query[1])), srcc))
        if taken < max(counts):
            inner.step(loss, support[taken % len(support)])
    return found


def _batch(images: np.ndarray, rows: np.ndarray, targets: np.ndarray, size: int, device: torch.device) -> meta.Batch:
    """Centre crops and targets: a measurement draws nothing."""
    pictures = crop(images, centre(rows, images.shape[-1] - size), size)
    return pictures.to(device), torch.from_numpy(np.asarray(targets, np.float32)).to(device)
