"""Worlds and images whose quality is easy to see, and the context of a run in them."""

import shutil

import numpy as np
import pytest
import torch

from grmp import params
from grmp.clip import checkpoints
from grmp.clip.model import Backbone
from grmp.data import dataset as prepared
from grmp.data import splits
from grmp.methods.context import RunContext
from grmp.params import Fit
from grmp.pretrain.train import pretrain
from tests import worlds
from tests.golden import weights

CPU = torch.device("cpu")
FIT = Fit(epochs=40, learning_rate=3e-3, weight_decay=1e-2, batch=8)
TRAIN, TEST = np.arange(24), np.arange(24, 60)  # of the bright images


@pytest.fixture(scope="module")
def bright():
    """A small seeded backbone, and noise images whose brightness is their quality."""
    rng = np.random.default_rng(3)
    quality = rng.uniform(size=60)
    images = np.clip(rng.normal(60 + 130 * quality[:, None, None, None], 20, (60, 3, 36, 36)), 0, 255).astype(np.uint8)
    return Backbone(weights.clip_weights(worlds.SHAPE), worlds.SHAPE, "seeded"), images, quality


@pytest.fixture(scope="session")
def world(tmp_path_factory):
    """A tiny world with learned prompts, in which methods learn; do not change what is in it."""
    fit = FIT.model_dump() | {"epochs": 60}
    file = worlds.build(
        tmp_path_factory.mktemp("world") / "w",
        adapt={"learning_rate": 0.05},
        protocols={"sound": {"adapt": {"epochs": 25}}},
        methods={"panel": {"width": 16, "heads": 2, "views": 2, "fit": fit}, "distill": {"fit": fit}},
    )
    shutil.rmtree(file.parent / "data/prepared/target")
    worlds.database(file.parent, "target", references=28, kinds=["jpeg"], seed=2)  # 21 test pictures
    pretrain(params.load(file), file.parent, "fomaml")
    return file


def tiny_case(loaded, base, name="target", shots=12, spoil=None):
    """Labels of a database of the world, whose table ``spoil`` may change."""
    db = prepared.load(base / "data/prepared" / name)
    parts = splits.load(base / f"data/splits/{name}/sound.csv", db.index["image"])
    if spoil:
        spoil(db.index, parts)
    backbone = checkpoints.load(base, "cpu", loaded.backbone.normalize)
    return RunContext(loaded, base, db, db, parts, parts, shots, backbone, CPU)


def with_method(loaded, name, **changes):
    """The settings with a changed method."""
    method = loaded.methods[name].model_copy(update=changes)
    return loaded.model_copy(update={"methods": loaded.methods | {name: method}})
