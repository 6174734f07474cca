"""What can be known to be wrong before training starts: checked for all runs before the first one.

Only tables and the headers of checkpoints are read, no image and no weight of the backbone.
"""

from collections.abc import Iterable
from functools import cache
from pathlib import Path

from grmp.clip import checkpoints
from grmp.clip.model import Backbone
from grmp.data import dataset
from grmp.data import splits as split_files
from grmp.data.dataset import Dataset
from grmp.data.splits import Splits
from grmp.errors import UserError
from grmp.experiments import identity
from grmp.methods.context import split_file
from grmp.params import Params, RunKey

LEAST_TEST = 5  # test images; a correlation of fewer is meaningless


def check(params: Params, root: Path, keys: Iterable[RunKey]) -> None:
    """Check that every run of ``keys`` can be started.

    Raises UserError for the first that cannot: an input is missing or corrupt, it needs more labels than the training
    side has, it has fewer than 5 test images, its images are smaller than the backbone's input, or its prompts do not fit
    the backbone.
    """

    @cache
    def database(name: str, protocol: str) -> Dataset:
        return dataset.load(root / "data/prepared" / name, params.under(protocol).data.resize)

    @cache
    def splits(name: str, protocol: str) -> Splits:
        return split_files.load(split_file(root, name, protocol), database(name, protocol).index["image"])

    @cache
    def backbone() -> Backbone:
        return checkpoints.load(root, only_metadata=True)

    for key in keys:
        identity.inputs(params, root, key)
        settings = params.for_run(key)
        source, tested = (splits(name, key.protocol) for name in (key.source, key.target))
        enough_images(key, source, tested if key.target == key.source else tested.whole(source.count))
        for name in dict.fromkeys((key.source, key.target)):
            size, wanted = database(name, key.protocol).images.shape[-1], backbone().shape.image_size
            if size < wanted:
                raise UserError(
                    f"{key}: the backbone needs images of {wanted} x {wanted} pixels, but {name} is prepared at {size} x "
                    f"{size}; set data.size to {wanted} or more, then: dvc repro prepare@{name}"
                )
        if start := settings.learned_start(key.method):
            checkpoints.load_prompts(root, start, backbone(), settings.prompts)


def enough_images(key: RunKey, source: Splits, tested: Splits) -> None:
    """Check that every split has the requested labels, and enough test images for a correlation.

    Raises UserError if one does not.
    """
    available = min(len(source.train(i, None)) for i in range(source.count))
    if isinstance(key.shots, int) and key.shots > available:
        raise UserError(f"{key}: {key.shots} shots requested, but the training side of {key.source} has {available}")
    tests = min(len(tested.test(i)) for i in range(tested.count))
    if tests < LEAST_TEST:
        raise UserError(
            f"{key}: a test side of {key.target} has {tests} images, fewer than {LEAST_TEST}; increase splits.test, then: "
            f"dvc repro prepare@{key.target}"
        )
