"""What to rate next: images that are not rated yet, for the folds of a cross-validation to disagree on."""

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from grmp.data.custom import locate
from grmp.data.dataset import COLUMNS, Dataset
from grmp.data.decode import try_image
from grmp.data.find import find
from grmp.device import cpus

MOST = 200  # images that are looked at; each fold scores them
SHOWN = 5


def unrated(table: Path, rated: Dataset, size: int, aspect: str, seed: int) -> Dataset | None:
    """At most ``MOST`` readable images below the table's folder that are not in it, or None; a seeded draw."""
    known = {path.resolve() for path in locate(table, rated.index["image"].tolist())}
    paths = [path for path in find([table.parent]) if path.resolve() not in known]
    drawn = sorted(np.random.default_rng(seed).permutation(len(paths))[:MOST])
    with ThreadPoolExecutor(cpus()) as pool:
        read = partial(try_image, size=size, aspect=aspect, displayed=True)
        images = list(tqdm(pool.map(read, [paths[i] for i in drawn]), "read others", len(drawn), delay=5, disable=None))
    good = [(paths[i], image) for i, image in zip(drawn, images, strict=True) if not isinstance(image, str)]
    if not good:
        return None
    names = [path.relative_to(table.parent).as_posix() for path, _ in good]
    index = pd.DataFrame({"image": names, "quality": 0.0}).reindex(columns=COLUMNS)
    return Dataset(rated.name, index, np.stack([image for _, image in good]), {})
