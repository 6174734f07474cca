"""All splits of a case, batch by batch: what is done is kept, and taken up again; a batch that is too large is halved."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from tqdm import tqdm

from grmp.device import fits, peak, reset_peak
from grmp.errors import UserError
from grmp.experiments import runs
from grmp.finetune.types import SplitResult
from grmp.methods import registry as methods
from grmp.methods.registry import Case


def complete(case: Case, name: str, folder: Path, label: str, progress: bool = True) -> list[dict[str, Any]]:
    """What every split gave (``runs.Finished``), in their order.

    Those that are kept in ``folder`` are read; the others are computed by the method ``name``, and kept there. A split that
    cannot be finished has a ``status`` that says why, and NaN for scores.
    """
    count = case.splits.count
    results = {i: r for i in range(count) if (r := runs.read_split(folder, i))}
    todo, start = [i for i in range(count) if i not in results], time.perf_counter()
    compute = methods.prepare(case, name) if todo else lambda numbers: []
    prepared = (time.perf_counter() - start) / max(1, len(todo))  # what all splits share
    reset_peak(case.device)
    hidden = None if progress else True
    with tqdm(total=count, initial=len(results), desc=label, unit="split", disable=hidden) as bar:
        for group, outcomes, seconds in in_groups(compute, todo, at_once(case, name), label):
            for split, outcome in zip(group, outcomes, strict=True):
                rows, status = case.target.index.iloc[case.tested.test(split)], "ok"
                if outcome.failure:
                    status = f"failed: {outcome.failure}"
                    outcome = SplitResult(np.full(len(rows), np.nan))
                results[split] = runs.finished(rows, outcome, prepared + seconds, peak(case.device), status)
                runs.write_split(folder, split, results[split])
                bar.update()
    return [results[i] for i in range(count)]


def at_once(case: Case, name: str) -> int:
    """Splits that are computed as one batch, after which they are kept: an interruption loses no more.

    One on a CPU, where a batch is no faster and would change the last bits.
    """
    if case.device.type == "cpu" or not case.params.adapting(name):
        return 1
    return case.params.adapt.splits_at_once or case.splits.count


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
        outcomes = fits(partial(compute, group))
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
