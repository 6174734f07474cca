"""A frozen convolutional stem in place of CLIP's patch embedding: EfficientNet-Lite0 without its head.

A transformer that is trained on ten thousand photographs cannot learn what edges, textures and objects are. The small
CLIPs therefore start from the features of an ImageNet network (Tan and Le, arXiv 1905.11946; Lite0: no
squeeze-and-excitation, ReLU6). Its batch norms are folded, so that the stem is plain convolutions with biases:

    visual.stem.conv.weight | bias                            (32, 3, 3, 3), stride 2
    visual.stem.{0..15}.{expand|depthwise|project}.weight | bias

For an image of 224 x 224 pixels the stem returns a grid of 7 x 7 cells, one per 32 x 32 pixels, with 896 channels:

    448   block 10 (14 x 14 x 112): the four positions of a cell, side by side
     48   block 2 (56 x 56 x 24): mean and standard deviation over the 8 x 8 positions of a cell
     80   block 4 (28 x 28 x 40): the same over the 4 x 4 positions
    320   block 15 (7 x 7 x 320)

The early blocks see blur and noise, which the later ones have learned to ignore; the last one knows what is shown.
``visual.conv1.weight`` (D, 896, 1, 1) maps a cell to a token, as CLIP's own ``conv1`` maps a patch. ``visual.pooled.weight``
(D, 1792) maps the mean and the standard deviation of each channel over the cells to a part of the class token. Letters:
B images, S pixels, D width of the image tower.
"""

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

PREFIX = "visual.stem."
FIRST = f"{PREFIX}conv.weight"  # a CLIP with this tensor has a stem
POOLED = "visual.pooled.weight"
CHANNELS = 896
CELL = 32  # pixels
STRIDES = (1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1)  # of blocks 0 to 15


def features(p: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """(B, 3, S, S) normalised pixels -> (B, 896, S / 32, S / 32); S is a multiple of 32."""
    # channels last, and the ReLU6 in place: four times as fast on a CPU
    x = x.contiguous(memory_format=torch.channels_last)
    x = convolve(p, "conv", x, 2).clamp_(0, 6)  # (B, 32, S/2, S/2)
    kept = {}
    for i, stride in enumerate(STRIDES):
        y = x
        if f"{PREFIX}{i}.expand.weight" in p:
            y = convolve(p, f"{i}.expand", y).clamp_(0, 6)
        y = convolve(p, f"{i}.depthwise", y, stride, groups=y.shape[1]).clamp_(0, 6)
        y = convolve(p, f"{i}.project", y)
        x = x + y if x.shape == y.shape else y
        if i in (2, 4, 10):
            kept[i] = x
    cells = F.pixel_unshuffle(kept[10], 2)  # (B, 448, S/32, S/32)
    return torch.cat([cells, *_mean_and_deviation(kept[2], 8), *_mean_and_deviation(kept[4], 4), x], dim=1)


def pooled(grid: Tensor) -> Tensor:
    """(B, 896, h, w) features -> (B, 1792): mean and standard deviation of each channel over the cells."""
    variance, mean = torch.var_mean(grid.flatten(2), dim=2)
    return torch.cat([mean, (variance + 1e-6).sqrt()], dim=1)


def convolve(p: Mapping[str, Tensor], name: str, x: Tensor, stride: int = 1, groups: int = 1) -> Tensor:
    """Convolution with TensorFlow's "SAME" padding: with stride 2 the odd row and column lie below and to the right."""
    weight, bias = p[f"visual.stem.{name}.weight"], p[f"visual.stem.{name}.bias"]
    side = weight.shape[-1]
    if side == 1:  # a matrix product, without the copies that a convolution makes of channels that come last
        return F.linear(x.permute(0, 2, 3, 1), weight[:, :, 0, 0], bias).permute(0, 3, 1, 2)
    odd = (side - stride) % 2  # S is a multiple of the stride
    if odd:  # zeros above and left of the weights, instead of below and right of every image
        weight = F.pad(weight, (1, 0, 1, 0))
    return F.conv2d(x, weight, bias, stride, (side - stride + odd) // 2, groups=groups)


def padded(p: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The same tensors, with the weights that ``convolve`` pads at every call padded in advance; not to be called twice."""
    strides = {"conv": 2} | {f"{i}.depthwise": stride for i, stride in enumerate(STRIDES)}
    names = {f"{PREFIX}{name}.weight" for name, stride in strides.items() if stride == 2}
    return {n: F.pad(t, (1, 0, 1, 0)) if n in names else t for n, t in p.items()}


def _mean_and_deviation(x: Tensor, side: int) -> tuple[Tensor, Tensor]:
    """Of each side x side cell of (B, C, H, W): two tensors (B, C, H / side, W / side)."""
    mean = F.avg_pool2d(x, side)
    return mean, (F.avg_pool2d(x * x, side) - mean * mean).clamp(min=1e-6).sqrt()
