"""The device: which one, how much of its memory is free, and the highest mark of what was used."""

import contextlib
import ctypes
import gc
import os
import re
from pathlib import Path

import psutil
import torch

from grmp.errors import UserError


def reset_peak(device: torch.device) -> int:
    """Bytes in use now; the highest mark starts from here."""
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))
    gc.collect()
    with contextlib.suppress(
        AttributeError, OSError
    ):  # glibc: what is free goes back to the system, to be counted anew
        ctypes.CDLL(None).malloc_trim(0)
    with contextlib.suppress(OSError):  # Linux: proc(5), 5 resets the peak of the resident size
        Path("/proc/self/clear_refs").write_text("5")
    return int(psutil.Process().memory_info().rss)


def peak(device: torch.device) -> int | None:
    """Bytes at the highest mark; None where the system keeps none."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    with contextlib.suppress(OSError):
        if found := re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text()):
            return int(found[1]) * 1024
    return None


def choose_device(wanted: str, threads: int) -> torch.device:
    """The device asked for; sets the number of CPU threads, which is part of what fixes a result's bytes.

    ``cuda_deterministic`` lets torch use only kernels that give the same bytes from run to run on the same GPU.

    Raises
    ------
    UserError
        If a GPU is demanded and there is none.
    """
    torch.set_num_threads(threads)
    deterministic = wanted == "cuda_deterministic"
    if deterministic:
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS reads it when it is first used
    torch.use_deterministic_algorithms(deterministic)
    found = torch.cuda.is_available()
    if wanted in ("cuda", "cuda_deterministic") and not found:
        raise UserError(
            f"the device asked for is {wanted}, but torch sees no GPU here; choose auto or cpu (adapt.device)"
        )
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


def free_bytes(device: torch.device) -> float:
    """Memory that is free now: the GPU's, or this machine's."""
    if device.type == "cuda":
        return float(torch.cuda.mem_get_info(device)[0])
    return float(psutil.virtual_memory().available)
