"""What cannot be is named in one line before any training, of one run and of a whole sweep."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from grmp import params
from grmp.clip import checkpoints
from grmp.data.splits import Splits
from grmp.errors import UserError
from grmp.experiments import sweep
from grmp.experiments.preflight import enough_images
from grmp.experiments.run import run
from grmp.files import sha256, write_json
from grmp.params import RunKey
from grmp.pretrain.train import pretrain
from tests import worlds


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A tiny world with prompts."""
    file = worlds.build(tmp_path_factory.mktemp("world") / "w", run={"few_shot": {"methods": ["zero_shot", "grmp"]}})
    pretrain(params.load(file), file.parent, "fomaml")
    return file


@pytest.fixture
def world(pristine, tmp_path, monkeypatch):
    """A copy to spoil, in which nothing may be computed."""
    shutil.copytree(pristine.parent, tmp_path / "w")

    def never(*arguments, **named):
        raise AssertionError("training started")

    monkeypatch.setattr("grmp.methods.prepare", never)
    monkeypatch.setattr("grmp.experiments.sweep.work", never)
    return tmp_path / "w" / "params.yaml"


def change(world, **groups):
    import yaml

    raw = yaml.safe_load(world.read_text())
    for group, values in groups.items():
        worlds.merge(raw[group], values)
    world.write_text(yaml.safe_dump(raw, sort_keys=False))


def prompts_of(world, update, metadata=None):
    path = world.parent / "models/prompts/fomaml.safetensors"
    prompts, known = checkpoints.read(path, "")
    new = {n: t for n, t in (prompts | update(prompts)).items() if t is not None}
    checkpoints.save(path, new, known | (metadata or {}))


def few_test_pictures(world):
    path = world.parent / "data/splits/target/sound.csv"
    table = pd.read_csv(path, dtype=str)
    tests = np.flatnonzero(table["split_1"] == "test")
    table.loc[tests[4:], "split_1"] = "validation"
    table.to_csv(path, index=False)


def small_pictures(world):
    folder = world.parent / "data/prepared/target"
    np.save(folder / "images.npy", np.load(folder / "images.npy")[:, :, :30, :30])


FIRST, DEEP = "visual.prompt_embeddings", "visual.deep_prompt_embeddings"
SPOILED = {
    "shots": (
        lambda w: change(w, run={"few_shot": {"shots": [6, 19]}}),
        "19 shots requested, but the training side of target has 18",
    ),
    "test pictures": (few_test_pictures, "a test side of target has 4 images, fewer than 5; increase splits.test"),
    "small pictures": (
        small_pictures,
        "needs images of 32 x 32 pixels, but target is prepared at 30 x 30",
    ),
    "layers": (
        lambda w: prompts_of(w, lambda p: {DEEP: p[DEEP][:1]}),
        r"does not fit .*: visual.deep_prompt_embeddings is 1 x 3 x 64, expected 2 x 3 x 64; train them again",
    ),
    "prompted layers asked for": (
        lambda w: change(w, prompts={"visual_layers": 1}),
        "visual.deep_prompt_embeddings is 2 x 3 x 64, expected absent",
    ),
    "tokens": (lambda w: change(w, prompts={"text_tokens": 5}), "ctx is 4 x 64, expected 5 x 64"),
    "width": (
        lambda w: prompts_of(w, lambda p: {FIRST: torch.zeros(1, 3, 96)}),
        "visual.prompt_embeddings is 1 x 3 x 96, expected 1 x 3 x 64",
    ),
    "another backbone": (lambda w: prompts_of(w, lambda p: {}, {"backbone": "0"}), "was trained on another backbone"),
    "no prompts": (lambda w: (w.parent / "models/prompts/fomaml.safetensors").unlink(), "dvc repro pretrain@fomaml"),
}


@pytest.mark.parametrize("name", SPOILED)
def test_a_sweep_names_it_before_any_run(world, name):
    spoil, words = SPOILED[name]
    spoil(world)
    with pytest.raises(UserError, match=words) as caught:
        sweep.sweep(world, workers=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", SPOILED)
def test_a_run_names_it_before_it_starts(world, name):
    spoil, words = SPOILED[name]
    spoil(world)
    with pytest.raises(UserError, match=words):
        run(params.load(world), world.parent, RunKey("sound", "target", "grmp", 19 if name == "shots" else 6))
    assert not (world.parent / "results/runs").exists()


def test_a_whole_target_is_counted_across_databases():
    source, target = Splits(np.array([[0, 1, 2, -1, -1]])), Splits(np.array([[0, 1, 2, -1, -2]]))
    key = SimpleNamespace(shots=3, source="a", target="b")
    with pytest.raises(UserError, match="a test side of b has 4 images"):
        enough_images(key, source, target.whole(1))
    enough_images(key, source, Splits(np.array([[0, 1, 2, -1, -1]])).whole(1))


def relabel(world, **columns):
    path = world.parent / "data/prepared/pre/index.csv"
    pd.read_csv(path).assign(**columns).to_csv(path, index=False)
    info = world.parent / "data/prepared/pre/info.json"
    card = json.loads(info.read_text())
    write_json(info, card | {"views": dict.fromkeys(card["views"], sha256(path))})


@pytest.mark.parametrize(
    ("variant", "columns", "words"),
    [
        ("fomaml", {"distortion": None}, "pre has no distortion labels, so it cannot pre-train; choose e.g. tid2013"),
        ("triplets", {"distortion": None}, "pre has no two levels of one distortion"),
        ("triplets", {"level": 2}, "pre has no two levels of one distortion"),
        ("fomaml", {"reference": "r00"}, "pre: distortion 'blur' has images of one source only"),
    ],
)
def test_databases_that_cannot_pre_train_are_named(world, monkeypatch, variant, columns, words):
    relabel(world, **columns)
    monkeypatch.setattr("grmp.pretrain.meta.Inner.step", lambda *arguments: pytest.fail("training started"))
    (world.parent / f"models/prompts/{variant}.safetensors").unlink(missing_ok=True)
    with pytest.raises(UserError, match=words) as caught:
        pretrain(params.load(world), world.parent, variant)
    assert "\n" not in str(caught.value)
