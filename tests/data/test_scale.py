"""A rating scale: its better end is quality 1, and ratings survive the way there and back."""

import numpy as np
import pytest

from grmp.data.scale import Scale


@pytest.mark.parametrize(("higher_better", "expected"), [(True, [0, 0.25, 1]), (False, [1, 0.75, 0])])
def test_the_better_end_is_1(higher_better: bool, expected: list[float]):
    scale, mos = Scale(1, 5, higher_better), np.array([1.0, 2.0, 5.0])
    assert scale.quality(mos).tolist() == expected
    assert scale.mos(scale.quality(mos)).tolist() == mos.tolist()
