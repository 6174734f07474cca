"""Time, memory and operations of two recipes that do the same work, alternating in one run."""

import resource
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode


@dataclass(frozen=True)
class Measurement:
    """Medians of one recipe on one piece of work."""

    seconds: float
    flops: float  # floating-point operations of matrix products, counted from the shapes that were run


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def alternate(
    recipes: dict[str, Callable[[], object]], device: torch.device, repeats: int
) -> tuple[dict[str, Measurement], list[float]]:
    """Run the recipes in turn, ``repeats`` times each after a first one that does not count.

    Returns the medians and, per repetition, the ratio of the first recipe's seconds to the last one's.
    """
    flops = {}
    for name, recipe in recipes.items():
        torch.backends.mha.set_fastpath_enabled(False)  # the fused path hides its products from the counter
        with FlopCounterMode(display=False) as counter:
            recipe()
        torch.backends.mha.set_fastpath_enabled(True)
        flops[name] = float(counter.get_total_flops())
    seconds: dict[str, list[float]] = {name: [] for name in recipes}
    for _ in range(repeats):
        for name, recipe in recipes.items():
            synchronize(device)
            start = time.perf_counter()
            recipe()
            synchronize(device)
            seconds[name].append(time.perf_counter() - start)
    first, *_, last = recipes
    ratios = [a / b for a, b in zip(seconds[first], seconds[last], strict=True)]
    return {n: Measurement(float(np.median(s)), flops[n]) for n, s in seconds.items()}, ratios


def peak_flops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Floating-point operations a second of one large matrix product: the ceiling, measured in the same run."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = 0.0
    for _ in range(6):
        synchronize(device)
        start = time.perf_counter()
        a @ a
        synchronize(device)
        best = max(best, 2 * size**3 / (time.perf_counter() - start))
    return best


def peak_memory(device: torch.device) -> float:
    """Bytes: the GPU allocator's peak, or this process's largest resident size."""
    if device.type == "cuda":
        return float(torch.cuda.max_memory_allocated(device))
    return float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
