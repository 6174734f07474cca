"""Every kind of method through a whole run: it learns, it repeats its bytes, and its record depends on its own code alone."""

import json
import re
import shutil

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from scipy.stats import spearmanr

from grmp import methods, params
from grmp.clip import checkpoints
from grmp.data import dataset as prepared
from grmp.data import splits
from grmp.errors import UserError
from grmp.experiments.identity import identify
from grmp.experiments.run import run
from grmp.finetune.types import SplitResult
from grmp.methods import distill
from grmp.methods.context import RunContext
from grmp.params import RunKey
from grmp.pretrain.train import pretrain
from tests import worlds
from tests.conftest import ROOT

FIT = {"epochs": 60, "learning_rate": 3e-3, "weight_decay": 1e-2, "batch": 8}


CHANGES = {
    "adapt": {"learning_rate": 0.05},
    "protocols": {"sound": {"adapt": {"epochs": 25}}},
    "methods": {"panel": {"width": 16, "heads": 2, "views": 2, "fit": FIT}, "distill": {"fit": FIT}},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny world with both kinds of learned prompts."""
    file = worlds.build(tmp_path_factory.mktemp("world") / "w", **CHANGES)
    shutil.rmtree(file.parent / "data/prepared/target")
    worlds.database(file.parent, "target", references=28, kinds=["jpeg"], seed=2)  # 21 test pictures
    for variant in ("fomaml", "triplets"):
        pretrain(params.load(file), file.parent, variant)
    return file


def record(world, method, shots=24, protocol="sound"):
    """Runs it; (median SRCC over splits, bytes of the predictions, run.json)."""
    key = RunKey(protocol, "target", method, shots)
    run(params.load(world), world.parent, key)
    folder = key.folder(world.parent)
    table = pd.read_csv(folder / "predictions.csv")
    of_splits = [part for _, part in table.groupby("split")]
    # a constant, as small networks start, orders nothing
    srcc = [spearmanr(p["score"], p["quality"])[0] if np.ptp(p["score"]) > 1e-6 else 0.0 for p in of_splits]
    return (
        float(np.median(srcc)),
        (folder / "predictions.csv").read_bytes(),
        json.loads((folder / "run.json").read_text()),
    )


# that a panel and a student learn and repeat their bytes is also tested with less around them in their own files
@pytest.mark.parametrize(
    "method", [*(pytest.param(m, marks=pytest.mark.slow) for m in ("panel", "distill")), "triplets"]
)
def test_it_learns_and_repeats_its_bytes(world, method):
    srcc, predictions, run = record(world, method)
    assert run["status"] == ["ok"] * 3
    assert run["trained_values"] > 0
    assert run["peak_bytes"] > 10_000_000  # torch alone takes more
    idle = {
        "adapt": {"learning_rate": 1e-12},
        "methods": {m: {"fit": {"learning_rate": 1e-12}} for m in ("panel", "distill")},
    }
    other = world.parent.parent / f"idle-{method}"
    shutil.copytree(world.parent, other)
    shutil.rmtree(other / "results/runs")
    raw = yaml.safe_load(world.read_text())
    for group, values in idle.items():
        worlds.merge(raw[group], values)
    (other / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    untrained, _, _ = record(other / "params.yaml", method)
    assert srcc > max(0.6, untrained + 0.2)
    shutil.rmtree(world.parent / "results/runs")
    assert record(world, method)[1] == predictions


def tiny_case(loaded, base, spoil=None):
    """Twelve labels of the world's target, whose table ``spoil`` may change."""
    db = prepared.load(base / "data/prepared/target")
    parts = splits.load(base / "data/splits/target/sound.csv", db.index["image"])
    if spoil:
        spoil(db.index, parts)
    backbone = checkpoints.load(base, "cpu", loaded.backbone.normalize)
    return RunContext(loaded, base, db, db, parts, parts, 12, backbone, torch.device("cpu"))


@pytest.mark.parametrize("method", ["ridge", "grmp", "triplets", "panel", "distill", "upper", "random_crossval"])
def test_which_labels_it_reads(world, method):
    """Of the K labelled pictures those, of the rest of the training side none but by ``upper``, of the test side never."""

    raw = yaml.safe_load(world.read_text())
    raw["protocols"]["sound"]["adapt"]["epochs"] = 2
    for kind in ("panel", "distill"):
        raw["methods"][kind]["fit"]["epochs"] = 3
    short = world.with_name("short.yaml")
    short.write_text(yaml.safe_dump(raw, sort_keys=False))
    loaded = params.load(short)

    def scores(rows_of):
        def turn(index, parts):
            index.loc[rows_of(parts), "quality"] = 1 - index.loc[rows_of(parts), "quality"]

        (found,) = methods.prepare(tiny_case(loaded, world.parent, turn), method)([1])
        return found.scores

    own, tested = scores(lambda parts: []), scores(lambda parts: parts.test(1))
    beyond, labelled = scores(lambda parts: parts.train(1, None)[12:]), scores(lambda parts: parts.train(1, 12))
    assert own.tobytes() == tested.tobytes()
    assert (own.tobytes() == beyond.tobytes()) == (method != "upper")
    assert not np.allclose(own, labelled)


@pytest.mark.parametrize("method", ["panel", "distill", "upper"])
def test_a_loss_that_is_not_finite_fails_its_split_alone(world, method):
    """One label that is not finite in split 1, and for ``upper`` one that only its teacher reads."""

    def spoil(index, parts):
        only_in_1 = np.setdiff1d(parts.train(1, 12 if method != "upper" else None), parts.train(0, None))
        index.loc[only_in_1[0], "quality"] = np.inf

    case = tiny_case(params.load(world), world.parent, spoil)
    fine, failed = methods.prepare(case, method)([0, 1])
    assert np.isfinite(fine.scores).all()
    assert re.fullmatch(r"loss is not finite at epoch 0, batch \d, learning rate [\d.e-]+", failed.failure)


def test_a_student_learns_from_the_first_images_of_the_training_order(world, monkeypatch):
    """Of 20, the first 12 are the labelled ones; a limit above the training side changes nothing."""
    seen = []

    def learn(ctx, rows, scores, *_):
        seen.append((list(rows), len(scores)))
        return None, SplitResult(failure="seen")

    monkeypatch.setattr(distill, "learn", learn)
    loaded = params.load(world)
    case = tiny_case(loaded, world.parent)
    for images in (20, 1000):
        distill.prepare(case, loaded.methods["distill"].model_copy(update={"images": images}))([1])
    train = case.splits.train(1, None)
    assert seen == [(sorted(train[:20]), 20), (sorted(train), len(train))]
    assert set(case.splits.train(1, case.shots)) < set(seen[0][0])


def test_page_lists_every_method_and_ablation():
    page = (ROOT / "docs/methods.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.M))
    written = {}
    for file in ("params.yaml", "demo/params.yaml", "real/livec/params.yaml"):
        loaded = params.load(ROOT / file)
        points = [(a, n) for a in loaded.ablations.values() for _, n in a.points]
        generated = {n for a, n in points if n != a.base and n not in a.also}
        written |= {n: m.kind for n, m in loaded.methods.items() if n not in generated}
        assert all(f"`{name}`" in page for name in loaded.ablations)
    assert written == rows


def test_teacher_is_a_method_that_adapts(tmp_path):
    raw = worlds.settings(methods={"distill": {"teacher": "ridge"}})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(UserError, match=r"methods.distill.teacher: 'ridge' is not defined; known: .*grmp"):
        params.load(tmp_path / "params.yaml")


def test_a_student_depends_on_its_teachers_settings(world):
    raw = yaml.safe_load(world.read_text())

    def identity():
        (world.parent / "other.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        loaded = params.load(world.parent / "other.yaml")
        return [identify(loaded, world.parent, RunKey("sound", "target", m, 6)).digest for m in ("distill", "panel")]

    before = identity()
    raw["methods"]["grmp"]["strength"] = 1.0
    after = identity()
    assert before[0] != after[0]
    assert before[1] == after[1]
