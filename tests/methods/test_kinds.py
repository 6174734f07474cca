"""Every kind of method through a whole run: it learns, it repeats its bytes, and its record depends on its own code alone."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from scipy.stats import spearmanr

from grmp import methods, params
from grmp.experiments.identity import identify
from grmp.experiments.run import run
from grmp.finetune.types import SplitResult
from grmp.methods import distill
from grmp.params import RunKey
from grmp.pretrain.train import pretrain
from tests.conftest import ROOT
from tests.faults import copies
from tests.methods.conftest import tiny_case, with_method


def with_fit(loaded, name, **changes):
    """The settings with another schedule of a small network."""
    return with_method(loaded, name, fit=loaded.methods[name].fit.model_copy(update=changes))


def short(world):
    """The settings with few epochs."""
    loaded = params.load(world).changed({"adapt.epochs": 2})
    return with_fit(with_fit(loaded, "panel", epochs=3), "distill", epochs=3)


def record(loaded, root, method):
    """Runs it; (median SRCC over splits, bytes of the predictions, run.json)."""
    key = RunKey("sound", "target", method, 24)
    run(loaded, root, key)
    folder = key.folder(root)
    table = pd.read_csv(folder / "predictions.csv")
    of_splits = [part for _, part in table.groupby("split")]
    # a constant, as small networks start, orders nothing
    srcc = [spearmanr(p["score"], p["quality"])[0] if np.ptp(p["score"]) > 1e-6 else 0.0 for p in of_splits]
    content = (folder / "predictions.csv").read_bytes(), json.loads((folder / "run.json").read_text())
    return float(np.median(srcc)), *content


# that a panel learns and repeats its bytes is tested in its own file
@pytest.mark.parametrize("method", [pytest.param("distill", marks=pytest.mark.slow), "triplets"])
def test_it_learns_and_repeats_its_bytes(world, tmp_path, method):
    loaded, learned = params.load(world), copies.copy(world, tmp_path)
    pretrain(loaded, learned.parent, "triplets")
    idle = with_fit(loaded.changed({"adapt.learning_rate": 1e-12}), "distill", learning_rate=1e-12)
    (srcc, predictions, found), (_, again, _), (untrained, *_) = (
        record(settings, copies.copy(learned, tmp_path / str(i)).parent, method)
        for i, settings in enumerate((loaded, loaded, idle))
    )
    assert found["status"] == ["ok"] * 3
    assert found["trained_values"] > 0
    assert found["peak_bytes"] > 10_000_000  # torch alone takes more
    assert srcc > max(0.6, untrained + 0.2)
    assert again == predictions


@pytest.mark.parametrize("method", ["ridge", "grmp", "panel", "distill", "upper", "random_crossval"])
def test_which_labels_it_reads(world, method):
    """Of the K labelled pictures those, of the rest of the training side none but by ``upper``, of the test side never."""
    loaded = short(world)

    def scores(rows_of):
        def turn(index, parts):
            index.loc[rows_of(parts), "quality"] = 1 - index.loc[rows_of(parts), "quality"]

        (found,) = methods.prepare(tiny_case(loaded, world.parent, spoil=turn), method)([1])
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

    case = tiny_case(short(world), world.parent, spoil=spoil)
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
    loaded = short(world)
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


def test_a_student_depends_on_its_teachers_settings(world):
    loaded = params.load(world)
    other = with_method(loaded, "grmp", strength=1.0)
    keys = [RunKey("sound", "target", method, 6) for method in ("distill", "panel")]
    before, after = ([identify(settings, world.parent, key).digest for key in keys] for settings in (loaded, other))
    assert before[0] != after[0]
    assert before[1] == after[1]
