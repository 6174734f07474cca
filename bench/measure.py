"""Time, memory and operations of recipes that do the same work, alternating in one run."""

import platform
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from grmp.device import peak, reset_peak


@dataclass(frozen=True)
class Measurement:
    """One recipe on one piece of work."""

    seconds: list[float]  # of each repetition
    flops: float  # floating-point operations of matrix products, counted from the shapes that were run
    memory: float  # bytes beyond what was there before, at the highest
    result: Any


def synchronize(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def counted(recipe: Callable[[], Any]) -> tuple[Any, float]:
    """What the recipe returns, and its floating-point operations."""
    # the fused paths hide their products from the counter
    torch.backends.mha.set_fastpath_enabled(False)
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        result = recipe()
    torch.backends.mha.set_fastpath_enabled(True)
    return result, float(counter.get_total_flops())


def timed(recipe: Callable[[], Any], device: torch.device) -> tuple[float, float, Any]:
    """Seconds, bytes at the highest beyond what was there before, and what the recipe returns."""
    synchronize(device)
    before = reset_peak(device)
    start = time.perf_counter()
    result = recipe()
    synchronize(device)
    seconds, most = time.perf_counter() - start, peak(device)
    return seconds, float(np.nan) if most is None else float(most - before), result


def alternate(
    recipes: dict[str, Callable[[], Any]], device: torch.device, repeats: int, count: bool = True
) -> dict[str, Measurement]:
    """Run the recipes in turn, ``repeats`` times each after a first one that counts operations and warms up.

    Without ``count`` that first run is left out: for recipes of minutes, in which starting up does not matter.
    """
    first = {name: counted(recipe) if count else (None, np.nan) for name, recipe in recipes.items()}
    for recipe in recipes.values() if count and device.type == "cuda" else ():
        recipe()  # its second call records its kernels (grmp.clip.graphs)
    runs: dict[str, list[tuple[float, float, Any]]] = {name: [] for name in recipes}
    for _ in range(repeats):
        for name, recipe in recipes.items():
            runs[name].append(timed(recipe, device))
    return {
        name: Measurement(
            [run[0] for run in found],
            first[name][1],
            max(run[1] for run in found),
            first[name][0] if count else found[0][2],
        )
        for name, found in runs.items()
    }


def peak_flops(device: torch.device, dtype: torch.dtype, size: int) -> float:
    """Floating-point operations a second of one large matrix product: the ceiling, measured in the same run."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    seconds = min(timed(lambda: a @ a, device)[0] for _ in range(10))
    return 2 * size**3 / seconds


def machine(device: torch.device) -> str:
    """Name of the GPU, or of the processor and how many threads work on it."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    info = Path("/proc/cpuinfo")
    names = re.findall(r"model name\s*: (.*)", info.read_text()) if info.is_file() else []
    threads = torch.get_num_threads()
    return f"{names[0] if names else platform.processor()}, {threads} thread{'s' if threads > 1 else ''}"
