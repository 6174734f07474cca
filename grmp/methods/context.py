"""What one run reads, opened in one place. Kinds of methods import this file, so torch and pandas are imported in functions."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from grmp.device import choose_device
from grmp.finetune.types import SplitResult
from grmp.params import Params, RunKey

if TYPE_CHECKING:
    import torch

    from grmp.clip.model import Backbone
    from grmp.data.crops import Crop
    from grmp.data.dataset import Dataset
    from grmp.data.splits import Splits
    from grmp.finetune.feature_cache import FeatureStore

Splitwise = Callable[[list[int]], list[SplitResult]]


@dataclass(frozen=True)
class RunContext:
    """Everything a method may read."""

    params: Params  # of this run: under its protocol, with the values its method sets
    root: Path  # the pipeline folder
    source: Dataset  # whose labels are read
    target: Dataset  # whose images are scored; the same object unless the run crosses databases
    splits: Splits  # of the source
    tested: Splits  # of the target
    shots: int | str
    backbone: Backbone
    device: torch.device
    features: FeatureStore | None = None  # frozen features of ``backbone``, of earlier runs of this process too

    @property
    def quality(self) -> np.ndarray:
        """Quality in [0, 1] of every image of the source, (N,)."""
        return self.source.index["quality"].to_numpy(np.float64)

    @property
    def weights(self) -> np.ndarray:
        """(N,) of the source's images in training: those of `grmp.data.ratings.weights`, or 1."""
        index = self.source.index
        return index["weight"].to_numpy() if "weight" in index else np.ones(len(index))

    def sharing(self, features: FeatureStore | None) -> RunContext:
        """The same with these features, and the backbone that they are of."""
        return replace(self, features=features, backbone=features.backbone) if features else self

    def inputs(self, dataset: Dataset) -> np.ndarray:
        """What the backbone is given of a database: see ``stem_cache.inputs``."""
        from grmp.clip import stem_cache

        return stem_cache.inputs(self.root, dataset, self.backbone)


def split_file(root: Path, database: str, protocol: str) -> Path:
    """Where the splits of a database under a protocol are."""
    return root / "data/splits" / database / f"{protocol}.csv"


def open_context(params: Params, root: Path, key: RunKey) -> RunContext:
    """Device, backbone, prepared databases and splits of one run; ``params`` are those of the file.

    Raises UserError if something is missing or corrupt; the message names the stage that makes it.
    """
    from grmp.clip import checkpoints
    from grmp.data import dataset
    from grmp.data import splits as split_files
    from grmp.finetune import feature_cache

    params = params.for_run(key)
    device = choose_device(params.adapt.device, params.adapt.threads)
    pair = key.source, key.target
    ends = [dataset.load(root / "data/prepared" / name, params.data.resize) for name in dict.fromkeys(pair)]
    drawn = [split_files.load(split_file(root, end.name, key.protocol), end.index["image"]) for end in ends]
    source, splits = ends[0], drawn[0]
    if source.info["kind"] == "synthetic":
        params = params.changed({"adapt.batch": params.adapt.batch_synthetic})
    tested = splits if key.target == key.source else drawn[-1].whole(splits.count)
    backbone = checkpoints.load(root, device, params.backbone.normalize)
    context = RunContext(params, root, source, ends[-1], splits, tested, key.shots, backbone, device)
    return context.sharing(feature_cache.of_process(backbone, params.adapt))


def each(one: Callable[[int], SplitResult]) -> Splitwise:
    """Splits one after another, for a method that gains nothing from computing them together."""
    return lambda numbers: [one(i) for i in numbers]


def embeddings(ctx: RunContext, images: np.ndarray, rows: Iterable[int] | None = None) -> torch.Tensor:
    """Unit-length embeddings (N, E) of the centre crops of images by the backbone without prompts, on the CPU."""
    from grmp.data.crops import centre

    clip = ctx.backbone

    def compute(crops: Sequence[Crop]) -> torch.Tensor:
        return clip.map(clip.image, images, np.array([row for row, *_ in crops]))

    get = ctx.features.cached(("embedding", id(images)), lambda: compute) if ctx.features else compute
    return get(centre(range(len(images)) if rows is None else rows, 0))
