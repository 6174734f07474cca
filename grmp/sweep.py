"""One run, and many: what the pipeline still lacks, on this machine's processes."""

import os
import time
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from grmp import params as settings
from grmp import runs
from grmp.errors import UserError
from grmp.params import Params
from grmp.runs import Key

if TYPE_CHECKING:
    import torch


def choose_device(wanted: str, threads: int) -> "torch.device":
    """The device asked for; sets the number of CPU threads, which is part of what fixes a result's bytes.

    Raises
    ------
    UserError
        If a GPU is demanded and there is none.
    """
    import torch

    torch.set_num_threads(threads)
    found = torch.cuda.is_available()
    if wanted == "cuda" and not found:
        raise UserError("adapt.device is cuda, but torch sees no GPU here; set it to auto or cpu")
    return torch.device("cuda" if found and wanted != "cpu" else "cpu")


def run(params: Params, world: Path, key: Key, progress: bool = True) -> bool:
    """Compute one record, taking up the splits that are done; False if it was there already.

    A split that cannot be finished is recorded as failed; the others go on.

    Raises
    ------
    UserError
        For anything that can be known to be wrong before training starts.
    """
    if runs.is_done(params, world, key):
        return False
    from grmp import backbone, methods
    from grmp.adapt import Outcome, SplitFailure
    from grmp.check import check
    from grmp.databases import prepared as databases
    from grmp.databases import splits as split_files

    check(params, world, [key])
    ident = runs.identity(params, world, key)
    of_run = runs.settled(params, key)
    device = choose_device(of_run.adapt.device, of_run.adapt.threads)
    source, target = (databases.load(world / "data/prepared" / d) for d in (key.source, key.target))
    splits = split_files.load(runs.split_file(world, key.source, key.protocol), source.index["image"])
    tested = splits
    if target.name != source.name:
        tested = split_files.load(runs.split_file(world, key.target, key.protocol), target.index["image"]).whole(
            splits.count
        )
    folder = runs.partial(world, ident)
    results = {i: r for i in range(splits.count) if (r := runs.read_split(folder, i))}
    bar = tqdm(
        total=splits.count, initial=len(results), desc=str(key), unit="split", disable=None if progress else True
    )
    clip = backbone.load(world, device, of_run.backbone.normalize)
    case = methods.Case(of_run, world, source, target, splits, tested, key.shots, clip, device)
    todo = [i for i in range(splits.count) if i not in results]
    compute = methods.prepare(case, key.method) if todo else lambda numbers: []
    # as many at a time as are computed together, so that an interruption loses little
    size = of_run.adapt.splits_at_once or (1 if device.type == "cpu" else splits.count)
    for group in (todo[i : i + size] for i in range(0, len(todo), size)):
        start = time.perf_counter()
        outcomes = compute(group)
        seconds = (time.perf_counter() - start) / len(group)
        for split, outcome in zip(group, outcomes, strict=True):
            status = "ok"
            if isinstance(outcome, SplitFailure):
                outcome, status = Outcome(np.full(len(tested.test(split)), np.nan)), f"failed: {outcome}"
            rows = target.index.iloc[tested.test(split)]
            results[split] = {
                "predictions": {
                    "image": rows["image"].tolist(),
                    "quality": rows["quality"].tolist(),
                    "score": [float(s) for s in outcome.scores],
                },
                "history": outcome.history,
                "trained_values": outcome.trained_values,
                "seconds": seconds,
                "status": status,
            }
            runs.write_split(folder, split, results[split])
            bar.update()
    bar.close()
    runs.write(params, world, key, [results[i] for i in range(splits.count)], str(device))
    for split, result in sorted(results.items()):
        if result["status"] != "ok":
            print(f"{key}, split {split} {result['status']}")
    return True


def lacking(params: Params, world: Path) -> list[Key]:
    """The runs of the matrix that are not there yet."""
    return [key for key in runs.keys(params) if not runs.is_done(params, world, key)]


def _work(params_file: Path, key: Key) -> Key:
    """What a worker process does with one key."""
    run(settings.load(params_file), params_file.parent, key, progress=False)
    return key


def sweep(params_file: Path, jobs: int) -> int:
    """Compute every lacking run with ``jobs`` processes; returns how many there were.

    Raises
    ------
    UserError
        If runs failed; the others are done by then.
    """
    params, world = settings.load(params_file), params_file.parent
    from grmp.check import check

    keys = lacking(params, world)
    check(params, world, keys)
    print(f"{len(keys)} runs to compute with {jobs} processes", flush=True)
    failed = []
    # spawned, not forked: torch's thread pools do not survive a fork
    with ProcessPoolExecutor(min(jobs, len(keys)) or 1, mp_context=get_context("spawn")) as pool:
        futures = {pool.submit(_work, params_file, key): key for key in keys}
        for future in tqdm(as_completed(futures), total=len(keys), desc="runs", unit="run", disable=None):
            try:
                future.result()
            except UserError as error:
                failed.append(f"{futures[future]}: {error}")
    if failed:
        raise UserError(f"{len(failed)} of {len(keys)} runs failed; the first: {failed[0]}")
    return len(keys)


def default_jobs() -> int:
    """One process a CPU that this process may use."""
    return len(os.sched_getaffinity(0))
