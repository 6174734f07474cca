"""What can be known to be wrong before any training: asked of all runs before the first one starts.

Only tables and the heads of checkpoints are read, no picture and no weight of the backbone.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from grmp.clip import checkpoints
from grmp.clip.model import Backbone
from grmp.data import dataset as databases
from grmp.data import splits as split_files
from grmp.data.dataset import Dataset
from grmp.data.splits import Splits
from grmp.errors import UserError
from grmp.experiments import runs
from grmp.params import Params, RunKey

LEAST_TEST = 5  # test pictures; a correlation of fewer says nothing


def check(params: Params, world: Path, keys: Iterable[RunKey]) -> None:
    """Every run of ``keys`` can be started.

    Raises
    ------
    UserError
        For the first that cannot: something it reads is missing or damaged, it asks for more labels than the training side
        has, for fewer than 5 test pictures, for pictures smaller than the backbone's, or for prompts that do not fit.
    """

    @cache
    def database(name: str) -> Dataset:
        return databases.load(world / "data/prepared" / name)

    @cache
    def splits(name: str, protocol: str) -> Splits:
        return split_files.load(runs.split_file(world, name, protocol), database(name).index["image"])

    @cache
    def backbone() -> Backbone:
        return checkpoints.load(world, only_metadata=True)

    for key in keys:
        runs.inputs(params, world, key)
        of_run, source, tested = runs.settled(params, key), *(splits(d, key.protocol) for d in (key.source, key.target))
        enough_pictures(key, source, tested if key.target == key.source else tested.whole(source.count))
        for name in dict.fromkeys((key.source, key.target)):
            size, wanted = database(name).images.shape[-1], backbone().shape.image_size
            if size < wanted:
                raise UserError(
                    f"{key}: the backbone reads {wanted} x {wanted} pictures, {name} is prepared at {size} x {size}; "
                    f"set data.size to {wanted} or more, then: dvc repro prepare@{name}"
                )
        if start := runs.learned_start(of_run, key.method):
            checkpoints.load_prompts(world, start, backbone(), of_run.prompts)


def enough_pictures(key: RunKey, source: Splits, tested: Splits) -> None:
    """Every split has the labels asked for, and test pictures enough for a correlation.

    Raises
    ------
    UserError
        If one has not.
    """
    available = min(len(source.train(i, None)) for i in range(source.count))
    if isinstance(key.shots, int) and key.shots > available:
        raise UserError(f"{key}: {key.shots} shots asked for, but the training side of {key.source} has {available}")
    tests = min(len(tested.test(i)) for i in range(tested.count))
    if tests < LEAST_TEST:
        raise UserError(
            f"{key}: a test side of {key.target} has {tests} pictures, fewer than {LEAST_TEST}; enlarge splits.test, then: "
            f"dvc repro prepare@{key.target}"
        )
