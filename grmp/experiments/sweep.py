"""Many runs: everything that the pipeline still needs, in local processes, as Slurm jobs or by Dask (docs/sweep.md)."""

import os
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from grmp import params as settings
from grmp.device import cpus
from grmp.errors import UserError
from grmp.experiments import cost, record
from grmp.experiments.cost import Progress, duration
from grmp.experiments.identity import identify
from grmp.experiments.run import check, run
from grmp.locks import Locked, lock
from grmp.params import Params, RunKey
from grmp.pool import work

Cluster = dict[str, Any] | str | None  # what Slurm's jobs request, the address of a Dask scheduler, or local processes


def outdated(params: Params, root: Path) -> list[RunKey]:
    """The requested runs that have no current record."""

    def current(key: RunKey) -> bool:
        folder = key.folder(root)
        return (folder / "run.json").is_file() and record.is_current(folder, identify(params, root, key).digest)

    return [key for key in params.run.run_keys() if params.methods[key.method].computed and not current(key)]


def _work(params_file: Path, key: RunKey) -> tuple[bool, list[int]] | None:
    """What a worker does with one run, and returns as ``run`` does; None if another process is computing it."""
    try:  # settings are read here: they cannot be sent to another process
        return run(settings.load(params_file), params_file.parent, key, progress=False, wait=False)
    except Locked:
        return None


def sweep(
    params_file: Path,
    workers: int = 0,
    cluster: Cluster = None,
    limit: float | None = None,
    command: str = "grmp sweep",
    allow_failed: bool = False,
) -> int:
    """Compute every outdated run, in ``workers`` local processes or on a cluster; returns how many were computed here.

    A local process may take ``limit`` seconds for a run. A run that another sweep is computing is left to it; whatever that
    one leaves unfinished is computed here at the end. Raises UserError if runs failed, with the ``command`` that tries them
    again; the others are complete by then. With ``allow_failed``, runs of which only single splits failed (a loss that is
    not finite) are no error: their records say so.
    """
    params_file = params_file.resolve()
    params, root = settings.load(params_file), params_file.parent
    keys = outdated(params, root)
    check(params, root, keys)
    clip = cost.tower(params) if keys else None
    counted = {key: cost.operations(params, root, key, clip) for key in keys if clip}
    keys.sort(key=lambda key: -counted[key])  # longest first, so that none of them is left to run alone at the end
    name, parallel, compute = _engine(params_file, params, workers, cluster, limit)
    print(f"{len(keys)} runs to compute with {name}", flush=True)
    incomplete: set[RunKey] = set()  # runs with a record in which splits failed
    todo, bar = keys, Progress(counted, parallel, root, params.splits.count)
    while todo:
        left = []
        for key, state, result in compute(partial(_work, params_file), todo):
            if result is None:
                left.append(key)
            elif state == "failed":
                bar.update(key, failure=result)
            else:
                computed, failed = result
                failure = ""
                if failed:
                    incomplete.add(key)
                    failure = f"{len(failed)} splits failed; run.json states why, the other splits are complete"
                bar.update(key, computed, failure)
        if todo := left:
            print(f"another sweep is computing {len(todo)} runs; waiting for it", flush=True)
        for key in todo:  # here and not in the workers, whose time is limited
            with lock(root, str(key)):
                pass
    if bar.failed:
        print("\n".join(f"failed: {key}: {reason}" for key, reason in bar.failed.items()))
    if bar.failed.keys() - (incomplete if allow_failed else set()):
        raise UserError(
            f"{len(bar.failed)} of {len(keys)} runs failed (listed above); completed runs are kept, "
            f"retry the others with: {command}"
        )
    return bar.computed


def _engine(
    params_file: Path, params: Params, workers: int, cluster: Cluster, limit: float | None
) -> tuple[str, int, Callable[..., Iterator[tuple[RunKey, str, Any]]]]:
    """(name, number of runs at the same time, the function that calls another one on all runs)."""
    if cluster is None:
        where = places(params.adapt.device, workers, params.adapt.threads)
        return f"{len(where)} processes", len(where), partial(work, places=where, limit=limit)
    if isinstance(cluster, str):
        from grmp.experiments import dask

        with dask.connect(cluster) as client:  # other workers may join during the sweep
            return f"Dask at {cluster}", len(client.nthreads()), partial(dask.work, address=cluster)
    from grmp.experiments import slurm

    folder = params_file.parent / "results/slurm"
    return "Slurm", cluster["array_parallelism"], partial(slurm.work, folder=folder, options=cluster)


def plan(params_file: Path, workers: int = 0, cluster: Cluster = None) -> str:
    """The runs that a sweep would compute and the estimated time; computes nothing."""
    params, root = settings.load(params_file), params_file.parent
    keys, known, splits = outdated(params, root), cost.past(root), params.splits.count
    parallel = max(1, min(_engine(params_file, params, workers, cluster, None)[1], len(keys)))
    seconds = {key: splits * each for key in keys if (each := cost.estimate(key, known)) is not None}
    counted, footnote = [key for key in keys if key not in seconds], ""
    if counted:
        clip = cost.tower(params)
        runs = {key: splits * cost.operations(params, root, key, clip) for key in keys}
        gpu = places(params.adapt.device, 1)[0] is not None
        for key in counted:
            seconds[key] = runs[key] / cost.speed(params.adapt.threads, gpu, params.for_run(key).adapt.precision)
        footnote = f"; {len(counted)} of them by counted operations (no record)\n{cost.on_h100(params, runs, clip)}"
    lines = []
    for key in keys:
        time = f"about {duration(seconds[key])}" + ", counted" * (key in counted)
        lines.append(f"{key}  {time if seconds[key] else 'unknown before `prepare`'}")
    lines.append(f"{len(keys)} runs to compute")
    if total := sum(seconds.values()):
        lines[-1] += f": about {duration(total)} in one process, {duration(total / parallel)} in {parallel}{footnote}"
    return "\n".join(lines)


def places(device: str, workers: int, threads: int = 1) -> list[str | None]:
    """The GPU of each process, in turn, or None for a CPU process; 0 ``workers``: one per GPU, or per ``threads`` CPU cores."""
    gpus: list[str] = []
    # importing torch takes seconds, so it is asked only where there may be a GPU
    if device != "cpu" and (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
        import torch

        count, seen = torch.cuda.device_count(), os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = (seen.split(",") if seen else [str(i) for i in range(count)])[:count]  # the variable may hide all: -1
    if gpus:
        return [gpus[i % len(gpus)] for i in range(workers or len(gpus))]
    return [None] * (workers or max(1, cpus() // threads))
