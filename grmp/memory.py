"""The highest mark of memory in use: of the process on a CPU, of what is allocated on a GPU."""

import contextlib
import ctypes
import gc
import re
from pathlib import Path

import psutil
import torch


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
