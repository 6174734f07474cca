"""How many splits are computed as one batch, and what happens where the GPU's memory does not hold them."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import torch

from grmp.adapt import fitting
from grmp.errors import UserError
from grmp.methods import Case


def at_once(case: Case, name: str) -> int:
    """Splits that are computed as one batch, after which they are kept: an interruption loses no more.

    One on a CPU, where a batch is no faster and would change the last bits.
    """
    settings, method = case.params.adapt, case.params.adapting(name)
    if case.device.type == "cpu" or not method:
        return 1
    labels = len(case.splits.train(0, case.shots))
    return settings.splits_at_once or min(case.splits.count, fitting(case.backbone, method, settings, labels))


def in_groups(
    compute: Callable[[list[int]], list[Any]], todo: list[int], size: int, name: str
) -> Iterator[tuple[list[int], list[Any], float]]:
    """(splits, their outcomes, seconds of each), ``size`` splits at a time; half as many once the GPU's memory is full.

    Raises
    ------
    UserError
        If not even one split fits.
    """
    while todo:
        group, start = todo[:size], time.perf_counter()
        outcomes = _computed(compute, group)
        if outcomes is not None:
            yield group, outcomes, (time.perf_counter() - start) / len(group)
            todo = todo[len(group) :]
            continue
        if len(group) == 1:
            raise UserError(
                f"{name}: one split alone does not fit into the GPU's memory; lower adapt.cache_gb or adapt.batch"
            )
        size = len(group) // 2
        print(f"{name}: {len(group)} splits at once do not fit into the GPU's memory; going on with {size}", flush=True)


def _computed(compute: Callable[[list[int]], list[Any]], group: list[int]) -> list[Any] | None:
    """What ``compute`` gives, or None where the GPU's memory is full; it is free again then."""
    try:
        return compute(group)
    except torch.OutOfMemoryError:
        pass
    except RuntimeError as error:
        if "ALLOC_FAILED" not in str(error):  # of cuBLAS and cuDNN, which ask for memory of their own
            raise
    torch.cuda.empty_cache()  # not above: there the exception still holds the tensors
    return None
