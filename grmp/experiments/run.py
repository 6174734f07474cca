"""One run: every split of one (protocol, database, method, shots), and the record of them.

Splits that are finished are kept, so an interrupted run continues. Splits are computed in chunks, one split at a time on a CPU;
a chunk that does not fit into the GPU's memory is halved.
"""

import time
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grmp.errors import UserError
from grmp.experiments import identity, record
from grmp.experiments.record import FinishedSplit
from grmp.locks import lock
from grmp.metrics import FEWEST
from grmp.params import Params, RunKey

if TYPE_CHECKING:
    from grmp.clip.model import Backbone
    from grmp.data.splits import Splits
    from grmp.methods.context import RunContext


def run(params: Params, root: Path, key: RunKey, progress: bool = True, wait: bool = True) -> tuple[bool, list[int]]:
    """Compute one record, continuing with the splits that are missing.

    Returns whether it was computed (False: it was up to date), and the splits that could not be finished; the record states
    why, and the others are complete. Raises UserError for everything that can be known to be wrong before training starts,
    or if an input changes during the run; Locked if another process is computing it and ``wait`` is False.
    """
    ident = identity.identify(params, root, key)  # a missing file is reported before anything is written
    with lock(root, str(key), wait):
        if record.is_current(key.folder(root), ident.digest):
            return False, []
        from grmp.methods.context import open_context

        check(params, root, [key])
        context = open_context(params, root, key)
        device = str(context.device)
        kept = record.unfinished(root, key, ident, device, params.adapt.threads)
        splits = complete(context, key.method, kept, str(key), progress)
        if ident.inputs != identity.inputs(params, root, key):
            raise UserError(f"{key}: an input was changed during the run; run it again")
        before = record.read_run(key.folder(root))
        if before and (changed := sorted({name for name, _ in before.inputs.items() ^ ident.inputs.items()})):
            print(f"{key}: replaces a record that was computed from another {', '.join(changed)}", flush=True)
        decoders = context.source.info["decoder"] | context.target.info["decoder"]
        record.write(root, key, ident, splits, device, params.adapt.threads, decoders)
    failed = [i for i, result in enumerate(splits) if result.status != "ok"]
    for split in failed:
        print(f"{key}, split {split} {splits[split].status}")
    return True, failed


def check(params: Params, root: Path, keys: Iterable[RunKey]) -> None:
    """Check that every run of ``keys`` can be started; reads no image and no weight of the backbone.

    Raises UserError for the first that cannot: an input is missing or corrupt, there are too few labels or test images, the
    images are smaller than the backbone's input, or the prompts do not fit the backbone.
    """
    from grmp.clip import checkpoints
    from grmp.data import dataset
    from grmp.data import splits as split_files
    from grmp.methods.context import split_file

    @cache
    def prepared(name: str, protocol: str) -> "tuple[int, Splits]":
        """Side of the images in pixels, and the splits."""
        found = dataset.load(root / "data/prepared" / name, params.under(protocol).data.resize)
        drawn = split_files.load(path := split_file(root, name, protocol), found.index["image"])
        if drawn.count != params.splits.count:
            counts = f"{drawn.count} splits, but splits.count is {params.splits.count}"
            raise UserError(f"{path} has {counts}; run: grmp data prepare {name}")
        return found.images.shape[-1], drawn

    @cache
    def backbone() -> "Backbone":
        return checkpoints.load(root, only_metadata=True)

    for key in keys:
        identity.inputs(params, root, key)
        settings = params.for_run(key)
        ends = {name: prepared(name, key.protocol) for name in (key.source, key.target)}
        source, tested = ends[key.source][1], ends[key.target][1]
        enough_images(key, source, tested if key.target == key.source else tested.whole(source.count))
        wanted = backbone().shape.image_size
        for name, (size, _) in ends.items():
            if size < wanted:
                raise UserError(
                    f"{key}: the backbone needs images of {wanted} x {wanted} pixels, but {name} is prepared at {size} x "
                    f"{size}; set data.size to {wanted} or more, then: grmp data prepare {name}"
                )
        if start := settings.learned_start(key.method):
            checkpoints.load_prompts(root, start, backbone(), settings.prompts)


def enough_images(key: RunKey, source: "Splits", tested: "Splits") -> None:
    """Raise UserError unless every split has the requested labels, and enough test images for a correlation."""
    available = min(len(source.train(i, None)) for i in range(source.count))
    if isinstance(key.shots, int) and key.shots > available:
        raise UserError(f"{key}: {key.shots} shots requested, but the training side of {key.source} has {available}")
    tests = min(len(tested.test(i)) for i in range(tested.count))
    if tests < FEWEST:
        raise UserError(
            f"{key}: a test side of {key.target} has {tests} images, fewer than {FEWEST}; increase splits.test, then: "
            f"grmp data prepare {key.target}"
        )


def complete(context: "RunContext", name: str, folder: Path, label: str, progress: bool = True) -> list[FinishedSplit]:
    """The result of every split by the method ``name``, in order; finished splits are read from and kept in ``folder``.

    A split that failed has NaN as scores and a ``status`` that states why; the next call tries it again.
    """
    from tqdm import tqdm

    from grmp import methods
    from grmp.clip import stem_cache
    from grmp.device import in_chunks, peak, reset_peak

    count, store = context.splits.count, context.features
    if store:
        store.begin_run()

    def lent() -> float:  # a run takes as long as it would alone: see FeatureStore
        return store.borrowed_seconds if store else 0.0

    results = {i: kept for i in range(count) if (kept := record.read_split(folder, i))}
    if not (todo := [i for i in range(count) if i not in results]):
        return list(results.values())
    for dataset in (context.source, context.target):
        context.inputs(dataset)  # features of a stem are computed once for all runs: they are the time of none
    stem_cache.forget()
    reset_peak(context.device)
    start = time.perf_counter()
    compute = methods.prepare(context, name)
    shared = (time.perf_counter() - start + lent()) / len(todo)  # seconds that all splits share
    so_far = lent()
    with tqdm(total=count, initial=len(results), desc=label, unit="split", disable=None if progress else True) as bar:
        chunks = in_chunks(compute, todo, chunk_size(context, name), f"{label}: split", "adapt.cache_gb or adapt.batch")
        for chunk, found, elapsed in chunks:
            seconds, so_far = shared + elapsed + (lent() - so_far) / len(chunk), lent()
            memory = peak(context.device)
            memory = memory and max(0, memory - (store.unused_bytes if store else 0))
            for split, result in zip(chunk, found, strict=True):
                rows = context.target.index.iloc[context.tested.test(split)]
                scores = np.full(len(rows), np.nan) if result.failure else result.scores
                results[split] = FinishedSplit(
                    image=rows["image"].tolist(),
                    quality=rows["quality"].tolist(),
                    score=[float(s) for s in scores],
                    history=result.history,
                    trained_values=result.trained_values,
                    chosen=result.chosen,
                    seconds=seconds,
                    peak_bytes=memory,
                    status=f"failed: {result.failure}" if result.failure else "ok",
                )
                if not result.failure:
                    record.write_split(folder, split, results[split])
                bar.update()
    return [results[i] for i in range(count)]


def chunk_size(context: "RunContext", name: str) -> int:
    """How many splits are computed together, and kept afterwards: 1 on a CPU, where more would change the last bits."""
    if context.device.type == "cpu" or not context.params.adapting(name):
        return 1
    return context.params.adapt.splits_at_once or context.splits.count
