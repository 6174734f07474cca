"""Reduced precision for forward passes: torch's autocast, and the same rules for float16 on the CPU.

A GPU's matrix units take float16 operands, sum in float32 and round the result to float16. CPUs have no such unit, and
torch's float16 matrix products there are many times slower than float32. On a CPU, operands of the same operations are
therefore rounded to float16, the operation runs in float32, and its result is float16 again. As under autocast, normalising
and summing operations run in float32, and gradients are rounded where values are.
"""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map

# the operations of our forward passes that autocast runs in float16, and those that it runs in float32
ROUNDED = {F.linear, F.conv2d, F.scaled_dot_product_attention, torch.einsum}
ROUNDED |= {torch.matmul, Tensor.matmul, Tensor.__matmul__}
EXACT = {F.layer_norm, F.normalize, F.softmax, F.log_softmax, Tensor.softmax, Tensor.sum, Tensor.exp}


def _rounded(x: Any) -> Any:
    return x.half().float() if isinstance(x, Tensor) and x.is_floating_point() else x


def _exact(x: Any) -> Any:
    return x.float() if isinstance(x, Tensor) and x.dtype == torch.float16 else x


class _Float16(TorchFunctionMode):
    """The rules of autocast on a GPU for the operations in ROUNDED and EXACT."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in ROUNDED:
            args, kwargs = tree_map(_rounded, (args, kwargs))
            return func(*args, **kwargs).half()
        if func in EXACT:
            args, kwargs = tree_map(_exact, (args, kwargs))
        return func(*args, **kwargs)


def reduced(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """The context in which a forward pass runs; ``precision`` is float32, bfloat16 or float16 (params.Adapt)."""
    if precision == "float32":
        return nullcontext()
    if precision == "float16" and device.type == "cpu":
        return _Float16()
    return torch.autocast(device.type, getattr(torch, precision))
