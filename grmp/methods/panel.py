"""A panel of raters on CLIP's frozen tokens, in the manner of DEIQT (Qin et al., AAAI 2023, arXiv 2304.04952).

As there: J learned members, each added to the class token, are the queries of one transformer decoder layer whose memory are
the patch tokens; one linear head gives each member's score, their mean is the score of the image; smooth L1 loss, AdamW.

What differs: the encoder is CLIP and stays frozen (DEIQT tunes a DeiT III ViT-S with the decoder). Tokens are first mapped to
a smaller width, because K labels have to determine every trained value. Every image starts at the mean label. The last epoch
is reported; the released code (models/deiqt.py, main.py) keeps the one that is best on the test images.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
from pydantic import model_validator

from grmp.finetune.types import SplitResult
from grmp.methods.context import RunContext, Splitwise, each
from grmp.params import Fit, Method, Positive

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor, nn

    from grmp.data.crops import Crop

BATCH = 64  # images of a forward pass without gradients


class Panel(Method):
    """The decoder and its training."""

    reads = ("adapt.seed",)

    kind: Literal["panel"]
    members: Positive  # J
    width: Positive  # of the decoder
    heads: Positive  # of its attention; they share the width
    views: Positive  # crops of each labelled image
    fit: Fit

    @model_validator(mode="after")
    def _divides(self) -> Panel:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} cannot be shared by {self.heads} heads; choose a multiple")
        return self


def decoder(tokens: int, width: int, members: int, heads: int) -> nn.Module:
    """The network: tokens (B, L, D), class token first -> scores (B,). ``tokens`` is D, ``members`` is J."""
    import torch
    import torch.nn.functional as F
    from torch import nn

    class Decoder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.inward = nn.Linear(tokens, width)
            self.members = nn.Parameter(torch.empty(members, width))
            self.layer = nn.TransformerDecoderLayer(
                width, heads, 4 * width, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True
            )
            self.head = nn.Linear(width, 1)

        def of_members(self, x: Tensor) -> Tensor:  # (B, J)
            x = self.inward(x)
            return self.head(self.layer(self.members + x[:, :1], x[:, 1:])).squeeze(-1)

        def forward(self, x: Tensor) -> Tensor:
            return self.of_members(x).mean(1)

    return Decoder()


def prepare(ctx: RunContext, method: Panel) -> Splitwise:
    """A decoder for each split.

    Each labelled image has ``method.views`` crops (one if the CLIP has a stem), drawn once and visited cyclically; their tokens
    are kept (K x views x L x D float32 on the device). With a store of features, the tokens of every image are kept for later
    splits and runs.
    """
    import torch

    from grmp.clip.model import pixels
    from grmp.data.crops import centre, crop, cropped, random_crops, spare
    from grmp.methods import small_net

    images, target_images, clip = ctx.inputs(ctx.source), ctx.inputs(ctx.target), ctx.backbone
    shape, margin = clip.shape, spare(images, clip.shape.image_size)
    if ctx.features:
        ctx.features.release()

    def tokens(images: np.ndarray, crops: list[Crop]) -> Iterator[Tensor]:
        @torch.no_grad()
        def compute(crops: Sequence[Crop]) -> Tensor:
            return clip.tokens(pixels(crop(images, crops, shape.image_size).to(ctx.device), shape))

        get = ctx.features.cached(("tokens", id(images)), lambda: compute) if ctx.features else compute
        return (get(crops[i : i + BATCH]) for i in range(0, len(crops), BATCH))

    def one(split: int) -> SplitResult:
        train, seed = ctx.splits.train(split, ctx.shots), (ctx.params.adapt.seed, split)
        if cropped(images):
            rng = np.random.default_rng([*seed, 1])
            views = [random_crops(train, margin, rng) for _ in range(method.views)]
        else:
            views = [centre(train, 0)]
        kept = [torch.cat(list(tokens(images, crops))) for crops in views]
        network, result = small_net.learn(
            lambda: decoder(shape.vision_width, method.width, method.members, method.heads),
            lambda members, epoch: kept[epoch % len(kept)][members],
            ctx.quality[train],
            method.fit,
            seed,
            ctx.device,
        )
        if result.failure:
            return result
        with torch.no_grad():
            parts = tokens(target_images, centre(ctx.tested.test(split), margin))
            return replace(result, scores=torch.cat([network(part) for part in parts]).cpu().numpy())

    return each(one)
