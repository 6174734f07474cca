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

from grmp.params import Fit, Method, Positive

if TYPE_CHECKING:
    from torch import Tensor, nn

    from grmp.clip.model import Backbone
    from grmp.data.crops import Crop
    from grmp.finetune.types import SplitResult
    from grmp.methods.context import RunContext, Splitwise

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


def train_and_score(
    backbone: Backbone,
    method: Panel,
    images: np.ndarray,
    quality: np.ndarray,
    train: np.ndarray,
    test_images: np.ndarray,
    test: np.ndarray,
    seed: tuple[int, int],
) -> SplitResult:
    """One split: train the decoder on the rows ``train`` of ``images``, score the rows ``test`` of ``test_images``.

    Each labelled image has ``method.views`` crops, drawn once and visited cyclically; their tokens are kept
    (K x views x L x D float32 on the device). ``images`` and ``quality`` as in ``finetune.types.Subset``.
    """
    import torch

    from grmp.clip.model import pixels
    from grmp.data.crops import centre, crop, spare
    from grmp.methods.small_net import fit, fresh, start_at

    shape, device = backbone.shape, backbone.device
    margin = spare(images, shape.image_size)

    @torch.no_grad()
    def tokens(images: np.ndarray, crops: list[Crop]) -> Tensor:
        x = crop(images, crops, shape.image_size).to(device)
        return backbone.prompted().tokens(pixels(x, shape))

    rng = np.random.default_rng([*seed, 1])
    draws = rng.integers(0, [margin + 1, margin + 1, 2], size=(method.views, len(train), 3))
    views = [[(int(r), int(y), int(x), bool(f)) for r, (y, x, f) in zip(train, d, strict=True)] for d in draws]
    kept = [torch.cat([tokens(images, crops[i : i + BATCH]) for i in range(0, len(crops), BATCH)]) for crops in views]
    targets = torch.from_numpy(quality[train].astype(np.float32)).to(device)

    sizes = shape.vision_width, method.width, method.members, method.heads
    network = fresh(lambda: decoder(*sizes), torch.Generator().manual_seed(1000 * seed[0] + seed[1]), device)
    start_at(network, float(targets.mean()))
    result = fit(network, lambda members, epoch: kept[epoch % len(kept)][members], targets, method.fit, seed)
    if result.failure:
        return result
    with torch.no_grad():
        parts = [centre(test[i : i + BATCH], margin) for i in range(0, len(test), BATCH)]
        scores = torch.cat([network(tokens(test_images, crops)) for crops in parts])
    return replace(result, scores=scores.cpu().numpy())


def prepare(ctx: RunContext, method: Panel) -> Splitwise:
    """A decoder for each split."""
    from grmp.methods.context import each

    images, target_images = (ctx.inputs(ctx.source), ctx.quality), ctx.inputs(ctx.target)

    def one(split: int) -> SplitResult:
        train, test = ctx.splits.train(split, ctx.shots), ctx.tested.test(split)
        seed = ctx.params.adapt.seed, split
        return train_and_score(ctx.backbone, method, *images, train, target_images, test, seed)

    return each(one)
