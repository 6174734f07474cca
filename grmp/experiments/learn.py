"""A model to keep: what a method learns from all rated images. Zero-shot, ridge regression and fine-tuning can be kept."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch

from grmp.clip.model import tokenize
from grmp.errors import UserError
from grmp.finetune.loop import finetune
from grmp.finetune.scorer import QualityModel
from grmp.finetune.types import SplitData
from grmp.methods import tune
from grmp.methods.context import embeddings
from grmp.methods.ridge import Ridge, fit
from grmp.methods.zero_shot import ZeroShot
from grmp.params import Tune

if TYPE_CHECKING:
    from grmp.methods.context import RunContext

KINDS = ("tune", "ridge", "zero_shot")


def learn(ctx: RunContext, name: str) -> QualityModel:
    """The model of a method whose kind is one of ``KINDS``, trained on the training side of the first split."""
    method = ctx.params.methods[name]
    if isinstance(method, Tune):
        return _tuned(ctx, name, method)
    clip = ctx.backbone.prompted()
    if isinstance(method, ZeroShot):
        return QualityModel.of(ctx.backbone.weights, clip.shape, tokenize(method.templates).to(ctx.device))
    assert isinstance(method, Ridge)  # one of KINDS
    rows = ctx.splits.train(0, None)
    x = embeddings(ctx, np.asarray(ctx.source.images)[rows]).numpy().astype(np.float64)
    weights, intercept = fit(x, ctx.quality[rows], method, ctx.weights[rows])
    return QualityModel(clip, torch.tensor([*weights, intercept], dtype=torch.float32, device=ctx.device))


def _tuned(ctx: RunContext, name: str, method: Tune) -> QualityModel:
    texts, job = tune.split_data(ctx, method)
    first = job(0)
    # a split needs a test image; its score is not used
    alone = replace(first, test=replace(first.train, rows=first.train.rows[:1]), keep=True)
    (ready,) = tune.with_teachers(ctx, method, texts, [alone])
    if not isinstance(ready, SplitData):
        raise UserError(f"the teacher of {name}: {ready.failure}; lower adapt.learning_rate")
    (found,) = finetune(ctx.backbone, texts, method, ctx.params.adapt, [ready])
    if found.failure:
        raise UserError(f"{name}: {found.failure}; lower adapt.learning_rate")
    assert found.tensors is not None  # keep=True
    return QualityModel.of(found.tensors, ctx.backbone.shape, texts.quality)
