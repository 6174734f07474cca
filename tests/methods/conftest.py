"""A small seeded backbone and images whose quality is easy to see."""

import numpy as np
import pytest

from grmp.clip.model import Backbone
from tests.golden import weights
from tests.worlds import SHAPE


@pytest.fixture(scope="module")
def bright():
    """A small seeded backbone, and noise images whose brightness is their quality."""
    rng = np.random.default_rng(3)
    quality = rng.uniform(size=60)
    images = np.clip(rng.normal(60 + 130 * quality[:, None, None, None], 20, (60, 3, 36, 36)), 0, 255).astype(np.uint8)
    return Backbone(weights.clip_weights(SHAPE), SHAPE, "seeded"), images, quality
