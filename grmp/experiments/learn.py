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
from grmp.finetune.types import SplitData, Texts
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
        texts, job = tune.split_data(ctx, method)
        first = job(0)
        # a split needs a test image; its score is not used
        alone = replace(first, test=replace(first.train, rows=first.train.rows[:1]))
        return tuned(ctx, name, texts, alone, "lower adapt.learning_rate")
    clip = ctx.backbone
    if isinstance(method, ZeroShot):
        return QualityModel.of(ctx.backbone.weights, clip.shape, tokenize(method.templates).to(ctx.device))
    assert isinstance(method, Ridge)  # one of KINDS
    rows = ctx.splits.train(0, None)
    x = embeddings(ctx, np.asarray(ctx.source.images)[rows]).numpy().astype(np.float64)
    weights, intercept = fit(x, ctx.quality[rows], method, ctx.weights[rows])
    return QualityModel(clip, torch.tensor([*weights, intercept], dtype=torch.float32, device=ctx.device))


def tuned(ctx: RunContext, name: str, texts: Texts, data: SplitData, remedy: str) -> QualityModel:
    """The model after fine-tuning the method ``name`` (kind tune) on one split.

    Raises UserError, which ends in ``remedy``, if the training of the method or of its teacher fails.
    """
    method = ctx.params.methods[name]
    assert isinstance(method, Tune)
    (found,) = tune.with_teachers(ctx, method, texts, [replace(data, keep=True)])
    if isinstance(found, SplitData):
        (found,) = finetune(ctx.backbone, texts, method, ctx.params.adapt, [found])
    if found.failure:
        raise UserError(f"{name}, split {data.split}: {found.failure}; {remedy}")
    assert found.tensors is not None  # keep=True
    return QualityModel.of(found.tensors, ctx.backbone.shape, texts.quality)
