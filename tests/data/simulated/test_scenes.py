"""Rendered scenes are seeded and have what distortions act on."""

import numpy as np
import pytest

from grmp.data.simulated.databases import SIZE, quality
from grmp.data.simulated.distortions import distort
from grmp.data.simulated.scenes import RENDERERS, fractal, render_scene


@pytest.mark.parametrize("kind", list(RENDERERS))
def test_rendered_scenes_have_detail_that_distortions_act_on(kind: str) -> None:
    """A rendered scene loses by blur and by noise about what a photograph loses."""
    clean = render_scene(kind, SIZE, np.random.default_rng(5))
    assert clean.std() > 15
    assert np.abs(np.diff(clean.mean((0, 1)))).max() > 2  # colour
    for distortion in ("gaussian_blur", "white_noise", "jpeg"):
        weak, strong = (quality(distort(clean, distortion, level, 0), clean) for level in (1, 5))
        assert weak < 4.8
        assert strong < weak - 0.5


def test_seeded():
    one, again, other = (render_scene("landscape", 40, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert not np.array_equal(one, other)
    noise = fractal(64, 1.0, np.random.default_rng(1))
    assert abs(noise).max() <= 1
    assert abs(noise.mean()) < 0.1
