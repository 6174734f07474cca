"""The schedule is chosen inside the K labels, and what is chosen is what then runs."""

import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import yaml

from grmp import methods, params
from grmp.data.splits import Splits
from grmp.errors import UserError
from grmp.methods import crossval
from grmp.methods.context import RunContext
from grmp.pretrain.train import pretrain
from tests import worlds
from tests.methods.test_kinds import tiny_case

SLOW, FAST = 1e-9, 0.05  # rates at which nothing is learned, and at which it is


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny world in which the first candidate learns nothing."""
    file = worlds.build(tmp_path_factory.mktemp("world") / "w")
    raw = yaml.safe_load(file.read_text())
    for name in ("grmp_crossval", "random_crossval"):
        raw["methods"][name] |= {"folds": 2, "grid": {"adapt.learning_rate": [SLOW, FAST]}}
    raw["protocols"]["sound"]["adapt"]["epochs"] = 25
    shutil.rmtree(file.parent / "data/prepared/target")
    worlds.database(file.parent, "target", references=28, kinds=["jpeg"], seed=2)
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
    pretrain(params.load(file), file.parent, "fomaml")
    return file


def results(world, name, numbers, rate=None):
    loaded = params.load(world)
    if rate is not None:
        loaded = loaded.model_copy(update={"adapt": loaded.adapt.model_copy(update={"learning_rate": rate})})
    return methods.prepare(replace(tiny_case(loaded, world.parent), shots=24), name)(numbers)


def test_the_candidate_that_orders_the_labels_best_runs_on_all_of_them(world):
    found = results(world, "grmp_crossval", [0, 1])
    plain = {rate: results(world, "grmp", [0, 1], rate) for rate in (SLOW, FAST)}
    for i, result in enumerate(found):
        chosen = result.chosen["adapt.learning_rate"]
        assert result.scores.tobytes() == plain[chosen][i].scores.tobytes()
    assert FAST in [result.chosen["adapt.learning_rate"] for result in found]


def test_splits_together_or_alone_are_the_same(world):
    together = results(world, "random_crossval", [0, 2])
    alone = [results(world, "random_crossval", [i])[0] for i in (0, 2)]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)  # a batch of splits differs in the last bits
        assert one.chosen == other.chosen


def test_a_candidate_that_diverges_is_not_chosen(world):
    raw = yaml.safe_load(world.read_text())
    raw["methods"]["random_crossval"]["grid"] = {"adapt.learning_rate": [1e30, SLOW]}
    (world.parent / "diverges.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    (result,) = results(world.parent / "diverges.yaml", "random_crossval", [0])
    assert result.failure is None
    assert result.chosen == {"adapt.learning_rate": SLOW}


@pytest.mark.parametrize(("labels", "of_one_source", "count"), [(50, 1, 5), (24, 1, 4), (9, 1, 0), (50, 4, 2)])
def test_folds_divide_the_labelled_images(labels, of_one_source, count):
    n = 100
    index = pd.DataFrame({"quality": np.linspace(0, 1, n), "image": [f"{i:03}.png" for i in range(n)]})
    index["reference"] = [f"{i // of_one_source}" for i in range(n)]
    index["distortion"] = index["level"] = None
    order = np.random.default_rng(0).permutation(n // of_one_source)
    ranks = np.argsort((order[:, None] * of_one_source + np.arange(of_one_source)).ravel())
    ranks[ranks >= 80] = -1
    parts = Splits(np.stack([ranks, ranks]))
    source, params = SimpleNamespace(index=index), SimpleNamespace(adapt=SimpleNamespace(seed=3))
    ctx = RunContext(params, Path(), source, source, parts, parts, labels, None, None)
    found = crossval.folds(ctx, 5, [1])
    assert len(found) == count
    tested = []
    for fold, of in found:
        train, test = fold.splits.train(1, None), fold.tested.test(1)
        assert of == [1]
        assert sorted([*train, *test]) == sorted(parts.train(1, labels))
        assert not set(index["reference"][train]) & set(index["reference"][test])
        tested += [*test]
    assert sorted(tested) == (sorted(parts.train(1, labels)) if count else [])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"method": "ridge"}, "methods.grmp_crossval.method: 'ridge' is not defined; known: .*grmp"),
        ({"folds": 1}, "key 'methods.grmp_crossval.folds'"),
        ({"grid": {"adapt.rate": [1.0]}}, "methods.grmp_crossval.grid: unknown key 'adapt.rate'"),
        (
            {"grid": {"splits.count": [1]}},
            "methods.grmp_crossval.grid: 'splits.count' is none of adapt.* and prompts.*",
        ),
        ({"grid": {"adapt.tuned_blocks": [-1]}}, "methods.grmp_crossval.grid: key 'adapt.tuned_blocks'"),
    ],
)
def test_settings_are_checked(world, change, message):
    raw = yaml.safe_load(world.read_text())
    raw["methods"]["grmp_crossval"] |= change
    (world.parent / "wrong.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(UserError, match=message):
        params.load(world.parent / "wrong.yaml")
