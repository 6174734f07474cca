"""One run, and many: what the pipeline still lacks, on this machine's processes or on a cluster (docs/sweep.md)."""

import os
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from grmp import params as settings
from grmp.device import cpus
from grmp.errors import UserError
from grmp.experiments import cost, runs
from grmp.experiments.cost import duration
from grmp.experiments.slurm import SlurmOptions
from grmp.experiments.watch import Watch
from grmp.locks import Locked, lock
from grmp.params import Params, RunKey
from grmp.pool import work


def run(params: Params, world: Path, key: RunKey, progress: bool = True, wait: bool = True) -> bool:
    """Compute one record, taking up the splits that are done; False if it was there already.

    A split that cannot be finished is recorded as failed; the others go on.

    Raises
    ------
    UserError
        For anything that can be known to be wrong before training starts.
    Locked
        If another process is computing it and ``wait`` is False.
    """
    runs.inputs(params, world, key)  # what is missing is named before anything is written
    with lock(world, str(key), wait):
        return _run(params, world, key, progress)


def _run(params: Params, world: Path, key: RunKey, progress: bool) -> bool:
    """``run``, by its owner."""
    if runs.is_done(params, world, key):
        return False
    from grmp.clip import checkpoints as backbone
    from grmp.data import dataset as databases
    from grmp.data import splits as split_files
    from grmp.device import choose_device
    from grmp.experiments.batches import complete
    from grmp.experiments.preflight import check
    from grmp.methods import registry as methods

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
    clip = backbone.load(world, device, of_run.backbone.normalize)
    case = methods.Case(of_run, world, source, target, splits, tested, key.shots, clip, device)
    results = complete(case, key.method, runs.partial(world, ident), str(key), progress)
    runs.write(params, world, key, results, str(device), ident)
    for split, result in enumerate(results):
        if result["status"] != "ok":
            print(f"{key}, split {split} {result['status']}")
    return True


def lacking(params: Params, world: Path) -> list[RunKey]:
    """The runs of the matrix that are not there yet."""
    return [key for key in params.run.run_keys() if not runs.is_done(params, world, key)]


def _work(params_file: Path, wait: bool, key: RunKey) -> str:
    """What a worker does with one run: "computed", "there", or "busy" where another process owns it and ``wait`` is False."""
    params, world = settings.load(params_file), params_file.parent
    try:
        computed = run(params, world, key, progress=False, wait=wait)
    except Locked:
        return "busy"
    if not runs.is_done(params, world, key):
        raise UserError("splits failed, see the status in its run.json; the other splits are in the record")
    return "computed" if computed else "there"


def sweep(
    params_file: Path,
    workers: int = 0,
    cluster: SlurmOptions | None = None,
    limit: float | None = None,
    command: str = "grmp sweep",
    allow_failed: bool = False,
) -> int:
    """Compute every lacking run, on this machine or as jobs of a cluster; returns how many were computed here.

    A run that another sweep is at is left to it; what that one leaves undone is done here in the end.

    Parameters
    ----------
    workers
        Processes; 0: one a GPU, or one a CPU where there is none.
    limit
        Seconds that one run may take here.
    command
        What the user typed, for the line that says how to try again.
    allow_failed
        A run with splits that failed (a loss that is not finite) is no error if its record says so, as the pages will.

    Raises
    ------
    UserError
        If runs failed; the others are done by then.
    """
    params_file = params_file.resolve()
    from grmp.experiments.preflight import check

    params, world = settings.load(params_file), params_file.parent
    keys = lacking(params, world)
    check(params, world, keys)
    where = [] if cluster else places(params.adapt.device, workers, params.adapt.threads)
    with_what = "Slurm" if cluster else f"{len(where)} processes"
    print(f"{len(keys)} runs to compute with {with_what}", flush=True)

    def ends(todo: list[RunKey], wait: bool) -> Iterator[tuple[RunKey, str, str]]:
        do = partial(_work, params_file, wait)
        if cluster:
            from grmp.experiments.slurm import work as submit

            found = submit(do, todo, world / "results/slurm", cluster, partial(_splits_done, params_file))
        else:
            found = work(do, todo, where, limit)
        for key, state, word in found:
            if state == "done" and word != "busy" and not runs.is_done(params, world, key):
                state, word = "failed", "it is said to be done, but its record is not there or does not hold"
            yield key, state, word

    watch = Watch(keys, cluster.parallel if cluster else len(where), world, params.splits.count)
    left = []
    for key, state, word in ends(keys, wait=False) if keys else ():
        left += [key] if (state, word) == ("done", "busy") else []
        watch.see(key, state, word)
    if left:
        print(f"{len(left)} runs are another sweep's; waiting for them", flush=True)
        for key in left:  # here and not in the workers, whose time counts
            with lock(world, str(key)):
                pass
        for key, state, word in ends(left, wait=True):
            watch.see(key, state, word)
    if watch.failed:
        print("\n".join(f"failed: {key}: {reason}" for key, reason in watch.failed.items()))
    if watch.failed and not (
        allow_failed and all(runs.is_done(params, world, key, failed=True) for key in watch.failed)
    ):
        raise UserError(
            f"{len(watch.failed)} of {len(keys)} runs failed (listed above); what is done is kept, "
            f"try the others again with: {command}"
        )
    return watch.computed


def _splits_done(params_file: Path, key: RunKey) -> int:
    """How many splits of an unfinished run are kept."""
    params, world = settings.load(params_file), params_file.parent
    return len(list(runs.partial(world, runs.identity(params, world, key)).glob("*.json")))


def plan(params_file: Path, workers: int = 0, cluster: SlurmOptions | None = None) -> str:
    """What a sweep would compute, and what that would take by the records that are there; computes nothing."""
    params, world = settings.load(params_file), params_file.parent
    keys, known, splits = lacking(params, world), cost.past(world), params.splits.count
    lines = []
    for key in keys:
        each = cost.estimate(key, known)
        lines.append(f"{key}  {'unknown' if each is None else 'about ' + duration(each * splits)}")
    seconds, unknown = cost.total(keys, known, splits)
    parallel = cluster.parallel if cluster else len(places(params.adapt.device, workers, params.adapt.threads))
    parallel = max(1, min(parallel, len(keys)))
    total = f"{len(keys)} runs to compute"
    if unknown < len(keys):
        total += f": about {duration(seconds)} of one process, {duration(seconds / parallel)} with {parallel}"
    if unknown:
        total += f"; {unknown} of them of unknown cost (no record of their method)"
    lines.append(total)
    return "\n".join(lines)


def places(device: str, workers: int, threads: int = 1) -> list[str | None]:
    """Where processes run: GPUs by turns, or None for each CPU process.

    ``workers`` 0 is one a GPU, or as many as there are CPUs for when each has ``threads``.
    """
    gpus: list[str] = []
    # torch takes seconds to import, so it is asked only where there may be one
    if device != "cpu" and (shutil.which("nvidia-smi") or Path("/dev/nvidia0").exists()):
        import torch

        seen = os.environ.get("CUDA_VISIBLE_DEVICES")
        gpus = seen.split(",") if seen else [str(i) for i in range(torch.cuda.device_count())]
    if gpus:
        return [gpus[i % len(gpus)] for i in range(workers or len(gpus))]
    return [None] * (workers or max(1, cpus() // threads))
