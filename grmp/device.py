"""The device: which one, its free and peak memory, and the CPUs of this process. torch is imported when it is needed."""

import contextlib
import ctypes
import gc
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from grmp.errors import UserError

if TYPE_CHECKING:
    import torch

Item = TypeVar("Item")
Result = TypeVar("Result")


def cpus() -> int:
    """Number of CPUs that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def tf32() -> bool:
    """Whether the user allows TF32 on GPUs, which has 10 bits of mantissa and is torch's default for convolutions."""
    return os.environ.get("GRMP_TF32") == "1"


def find_device(wanted: str) -> "torch.device":
    """The device called auto, cpu, cuda or cuda_deterministic. Raises UserError for another name, or if there is no GPU."""
    import torch

    if wanted not in ("auto", "cpu", "cuda", "cuda_deterministic"):
        raise UserError(f"device {wanted}: choose auto, cpu or cuda")
    found = torch.cuda.is_available()
    if wanted.startswith("cuda") and not found:
        raise UserError(f"device {wanted}: torch finds no GPU; choose auto or cpu (adapt.device or --device)")
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


def choose_device(wanted: str, threads: int) -> "torch.device":
    """`find_device` for a command, whose process it sets up: the bytes of a result depend on the number of CPU threads.

    ``cuda_deterministic`` restricts torch to kernels that return the same bytes from run to run on the same GPU.
    """
    import torch

    torch.set_num_threads(threads)
    deterministic = wanted == "cuda_deterministic"
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    if deterministic != torch.are_deterministic_algorithms_enabled():  # the call imports torch's compiler: 150 MB
        torch.use_deterministic_algorithms(deterministic)
    exact = not tf32()
    torch.backends.cudnn.allow_tf32 = not exact
    torch.set_float32_matmul_precision("highest" if exact else "high")
    return find_device(wanted)


def free_bytes(device: "torch.device") -> float:
    """Free memory of the GPU, with what torch holds without using it, or of this machine."""
    import psutil
    import torch

    if device.type == "cuda":
        idle = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)
        return float(torch.cuda.mem_get_info(device)[0] + idle)
    return float(psutil.virtual_memory().available)


def in_chunks(
    compute: Callable[[list[Item]], list[Result]], items: list[Item], size: int, what: str, remedy: str
) -> Iterator[tuple[list[Item], list[Result], float]]:
    """Yield (items, their results, seconds per item), ``size`` items at a time; half as many once GPU memory is full.

    Raises UserError if a single one of ``what`` does not fit; ``remedy`` names the settings to lower.
    """
    import torch

    while items:
        chunk, start = items[:size], time.perf_counter()
        try:
            found = compute(chunk)
        except RuntimeError as error:
            # cuBLAS and cuDNN allocate memory of their own
            if not isinstance(error, torch.OutOfMemoryError) and "ALLOC_FAILED" not in str(error):
                raise
        else:
            yield chunk, found, (time.perf_counter() - start) / len(chunk)
            items = items[len(chunk) :]
            continue
        gc.collect()  # not above: there the exception still holds the tensors
        torch.cuda.empty_cache()
        if torch.cuda.is_initialized():
            torch.cuda.reset_peak_memory_stats()  # the next attempt is measured by itself
        if len(chunk) == 1:
            raise UserError(f"{what} does not fit into GPU memory even alone; lower {remedy}")
        size = len(chunk) // 2
        print(f"{what}: {len(chunk)} do not fit into GPU memory together; continuing with {size}", flush=True)


def reset_peak(device: "torch.device") -> int:
    """Start a new measurement of the peak; returns the bytes in use now."""
    import psutil
    import torch

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    gc.collect()
    with contextlib.suppress(AttributeError, OSError):  # glibc: return free memory to the system
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # Linux: proc(5), 5 resets the peak of the resident size
        Path("/proc/self/clear_refs").write_text("5")
    return int(psutil.Process().memory_info().rss)


def peak(device: "torch.device") -> int | None:
    """Peak bytes since the last ``reset_peak``; None if the system does not record it."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()):
            return int(found[1]) * 1024
    return None
