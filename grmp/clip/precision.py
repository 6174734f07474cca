"""Reduced precision for forward passes: torch's autocast, and an emulation of float16 on the CPU.

A GPU's matrix units take float16 operands, sum in float32 and round the result to float16. CPUs have no such unit, and
torch's float16 kernels there are many times slower than float32. On a CPU the operands and results of the same operations
are therefore rounded to float16, and the operation itself runs in float32. Gradients are rounded at the same points.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

# the operations of our forward passes that autocast runs in float16
ROUNDED = {F.linear, F.conv2d, F.scaled_dot_product_attention, torch.matmul, Tensor.matmul, Tensor.__matmul__}


def _rounded(x: Any) -> Any:
    return x.half().to(x.dtype) if isinstance(x, Tensor) and x.is_floating_point() else x


class _Float16(TorchFunctionMode):
    """Rounds operands and results of the operations in ROUNDED to float16."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if func not in ROUNDED:
            return func(*args, **(kwargs or {}))
        args, kwargs = tree_map(_rounded, (args, kwargs or {}))
        return _rounded(func(*args, **kwargs))


def reduced(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The context in which a forward pass runs; ``precision`` is float32, bfloat16 or float16 (params.Adapt)."""
    if precision == "float32":
        return nullcontext()
    if precision == "float16" and device.type == "cpu":
        return _Float16()
    return torch.autocast(device.type, getattr(torch, precision))
