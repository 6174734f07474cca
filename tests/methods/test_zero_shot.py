"""Zero-shot CLIP: no label is read."""

from dataclasses import replace

import numpy as np

from grmp import methods, params
from tests.methods.conftest import tiny_case


def test_scores_are_probabilities_and_need_no_label(world):
    case = tiny_case(params.load(world), world.parent)
    (found,) = methods.prepare(case, "zero_shot")([1])
    assert len(found.scores) == len(case.tested.test(1))
    assert ((found.scores > 0) & (found.scores < 1)).all()
    case.source.index["quality"] = 0.5
    (again,) = methods.prepare(replace(case, shots=24), "zero_shot")([1])
    assert np.array_equal(found.scores, again.scores)
