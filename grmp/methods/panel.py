"""A panel of raters on CLIP's frozen tokens, in the manner of DEIQT (Qin et al., AAAI 2023, arXiv 2304.04952).

As there: J learned members, each added to the class token, are the queries of one transformer decoder layer whose memory are
the patch tokens; one linear head gives each member's score, their mean is the picture's; smooth L1, AdamW.

What differs. The encoder is CLIP and stays frozen (DEIQT tunes a DeiT III ViT-S with the decoder); tokens are mapped to a
smaller width first, as K labels have to carry every trained value; every picture starts at the mean label; the last epoch is
reported, where the released code (models/deiqt.py, main.py) keeps the one that is best on the test pictures.
"""

from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grmp.clip.model import Backbone, pixels
from grmp.data.crops import Crop, centre, crop
from grmp.finetune.types import SplitResult
from grmp.methods.small_net import fit, fresh, start_at
from grmp.params import Panel

BATCH = 64  # pictures of a forward without gradients


class Decoder(nn.Module):
    """Tokens (B, L, D), class token first -> scores (B,)."""

    def __init__(self, tokens: int, width: int, members: int, heads: int) -> None:
        """``tokens`` is D, ``members`` is J."""
        super().__init__()
        self.inward = nn.Linear(tokens, width)
        self.members = nn.Parameter(torch.empty(members, width))
        self.layer = nn.TransformerDecoderLayer(
            width, heads, 4 * width, dropout=0.0, activation=F.gelu, batch_first=True, norm_first=True
        )
        self.head = nn.Linear(width, 1)

    def opinions(self, tokens: Tensor) -> Tensor:
        """The members' scores, (B, J)."""
        x = self.inward(tokens)
        return self.head(self.layer(self.members + x[:, :1], x[:, 1:])).squeeze(-1)

    def forward(self, tokens: Tensor) -> Tensor:
        """Their mean, (B,)."""
        return self.opinions(tokens).mean(1)


def panel(
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

    Each labelled picture has ``method.views`` crops, drawn once, which come round epoch by epoch; their tokens are kept
    (K x views x L x D float32 on the device). ``images`` and ``quality`` as in ``finetune.types.Subset``.
    """
    shape, device = backbone.shape, backbone.device
    margin = images.shape[-1] - shape.image_size

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
    decoder = fresh(lambda: Decoder(*sizes), torch.Generator().manual_seed(1000 * seed[0] + seed[1]), device)
    start_at(decoder.head, float(targets.mean()))
    result = fit(decoder, lambda members, epoch: kept[epoch % len(kept)][members], targets, method.fit, seed)
    if result.failure:
        return result
    with torch.no_grad():
        sides = [centre(test[i : i + BATCH], margin) for i in range(0, len(test), BATCH)]
        scores = torch.cat([decoder(tokens(test_images, crops)) for crops in sides])
    return replace(result, scores=scores.cpu().numpy())
