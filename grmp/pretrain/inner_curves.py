"""The ``inner_curves`` stage: what a few inner steps achieve on each distortion type, from pre-trained and random prompts.

Pre-training promises prompts from which a few steps suffice. To measure it, one support and one query set are drawn for every
distortion type, as in pre-training; the variant's inner optimiser takes steps on the support set, and the query images are
scored along the way. The random start is the one from which pre-training began. Types of a database that pre-training has
not seen show whether the advantage transfers.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from grmp.clip import checkpoints, stem_cache
from grmp.clip.model import Backbone, pixels, prompted_texts, random_prompts, task_loss, tokenize
from grmp.data import dataset
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.files import write_text
from grmp.metrics import srcc
from grmp.params import Params, Variant
from grmp.pretrain.meta import Batch, Inner, quality_loss
from grmp.pretrain.tasks import draw, load, tasks_of

COLUMNS = ["start", "database", "seen", "task", "steps", "query_loss", "query_srcc", "images"]


def measure(params: Params, root: Path, name: str) -> None:
    """Write the curves of variant ``name``, one row per (start, task, number of steps); docs/design.md lists the columns.

    Raises UserError if the variant is unknown, is not meta-learned, or its prompts are missing.
    """
    if name not in params.variants:
        raise UserError(f"variant '{name}' is not defined in params.yaml; known: {', '.join(sorted(params.variants))}")
    variant = params.variants[name]
    if not isinstance(variant, Variant):
        raise UserError(f"variant '{name}' has no inner steps; remove it from inner_curves.variants")
    params = params.under(variant.protocol)
    settings, p = params.pretrain, params.prompts
    backbone = checkpoints.load(root, choose_device(params.adapt.device, settings.threads), params.backbone.normalize)
    size, device = backbone.shape.image_size, backbone.device
    generator = torch.Generator().manual_seed(settings.seed)  # as train.py begins
    fresh = random_prompts(backbone.shape, p.visual_tokens, p.visual_layers, p.text_tokens, p.norm, generator)
    starts = {"meta": checkpoints.load_prompts(root, name, backbone, p)[0], "random": fresh}
    tokens = tokenize(prompted_texts(p.classes, p.text_tokens))
    one_query = settings.model_copy(update={"query_batch": 2**30})

    rows = []
    for number, database in enumerate(params.inner_curves.databases):
        views = [dataset.load(root / "data/prepared" / database, view) for view in params.pretrain_views]
        images = [stem_cache.inputs(root, view, backbone) for view in views]
        for index, task in enumerate(tasks_of(database, views[0].index)):
            drawn = draw(task, one_query, np.random.default_rng([settings.seed, number, index]))
            # centre crops: a measurement draws nothing
            sides = zip(images, drawn, strict=True)
            support, (query,) = ([load(array, *b, size, device) for b in batches] for array, batches in sides)
            for kind, theta in starts.items():
                inner = Inner({n: t.to(device) for n, t in theta.items()}, variant.inner, variant.inner_rate)
                for taken, loss, rank in walk(backbone, tokens, inner, support, query, params.inner_curves.counts):
                    seen = database in settings.databases
                    rows.append((kind, database, seen, task.distortion, taken, loss, rank, len(query[1])))
    table = pd.DataFrame(rows, columns=COLUMNS)
    path = root / "results/inner_curves" / f"{name}.csv"
    write_text(path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def walk(
    backbone: Backbone, tokens: Tensor, inner: Inner, support: list[Batch], query: Batch, counts: Sequence[int]
) -> list[tuple[int, float, float]]:
    """(steps taken, query loss, query SRCC) after each of ``counts`` steps; support batches are used cyclically."""
    found, loss, truth = [], quality_loss(backbone, tokens), query[1].cpu().numpy()
    for taken in range(max(counts) + 1):
        if taken in counts:
            clip = backbone.prompted(inner.prompts)
            with torch.no_grad():
                logits = clip.logits(clip.image(pixels(query[0], backbone.shape)), clip.quality_text(tokens))
            scores = logits.softmax(-1)[:, 0].cpu().numpy()
            found.append((taken, float(task_loss(logits, query[1])), srcc(truth, scores)[0]))
        if taken < max(counts):
            inner.step(loss, support[taken % len(support)])
    return found
