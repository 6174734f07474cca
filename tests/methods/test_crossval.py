"""The schedule is chosen inside the K labels, and what is chosen is what then runs."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from grmp import methods, params
from grmp.data.splits import Splits
from grmp.methods import crossval
from grmp.methods.context import RunContext
from tests.methods.conftest import tiny_case, with_method

SLOW, FAST = 1e-9, 0.05  # rates at which nothing is learned, and at which it is


def choosing(world, *rates):
    """24 labels, and methods that choose among these rates."""
    loaded = params.load(world)
    for name in ("grmp_crossval", "random_crossval"):
        loaded = with_method(loaded, name, folds=2, grid={"adapt.learning_rate": list(rates)})
    return tiny_case(loaded, world.parent, shots=24)


def test_the_candidate_that_orders_the_labels_best_runs_on_all_of_them(world):
    case = choosing(world, SLOW, FAST)
    found = methods.prepare(case, "grmp_crossval")([0, 1])
    under = {rate: replace(case, params=case.params.changed({"adapt.learning_rate": rate})) for rate in (SLOW, FAST)}
    plain = {rate: methods.prepare(one, "grmp")([0, 1]) for rate, one in under.items()}
    for i, result in enumerate(found):
        chosen = result.chosen["adapt.learning_rate"]
        assert result.scores.tobytes() == plain[chosen][i].scores.tobytes()
    assert FAST in [result.chosen["adapt.learning_rate"] for result in found]


def test_splits_together_or_alone_are_the_same(world):
    compute = methods.prepare(choosing(world, SLOW, FAST), "random_crossval")
    for one, (other,) in zip(compute([0, 2]), map(compute, ([0], [2])), strict=True):
        np.testing.assert_allclose(one.scores, other.scores, atol=1e-4)  # a batch of splits differs in the last bits
        assert one.chosen == other.chosen


def test_a_candidate_that_diverges_is_not_chosen(world):
    (result,) = methods.prepare(choosing(world, 1e30, SLOW), "random_crossval")([0])
    assert result.failure is None
    assert result.chosen == {"adapt.learning_rate": SLOW}


def test_learned_prompts_fix_their_numbers(world):
    loaded, grid = params.load(world), {"prompts.visual_tokens": [3, 8]}
    with_method(loaded, "random_crossval", grid=grid).methods["random_crossval"].check(loaded)
    with pytest.raises(ValueError, match=r"starts from learned prompts, which fix prompts\.visual_tokens"):
        with_method(loaded, "grmp_crossval", grid=grid).methods["grmp_crossval"].check(loaded)


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
