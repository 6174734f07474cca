"""Zero-shot CLIP: no label is read."""

from dataclasses import replace

import numpy as np

from grmp import methods, params
from grmp.methods.context import open_context
from grmp.params import RunKey
from tests import worlds


def test_scores_are_probabilities_and_need_no_label(tmp_path):
    file = worlds.build(tmp_path / "w")
    context = open_context(params.load(file), file.parent, RunKey("sound", "target", "zero_shot", 6))
    (found,) = methods.prepare(context, "zero_shot")([1])
    assert len(found.scores) == len(context.tested.test(1))
    assert ((found.scores > 0) & (found.scores < 1)).all()
    context.source.index["quality"] = 0.5
    (again,) = methods.prepare(replace(context, shots=12), "zero_shot")([1])
    assert np.array_equal(found.scores, again.scores)
