"""KonIQ-10k: both official files are read on the scale from 1 to 5."""

import numpy as np

from grmp.data import databases, labels
from tests.data import layouts


def test_koniq_scales_agree(shared, tmp_path):
    """Both official files and the list give the same MOS on the 1-5 scale, to rounding."""
    sets, listed = "koniq10k_distributions_sets.csv", "lists/KonIQ-10k.txt"
    trees = [layouts.koniq10k(shared)["koniq10k_scores_and_distributions.zip"]]
    trees += [{file: (shared / "real/scores" / file).read_bytes()} for file in (sets, listed)]
    entry = databases.get("koniq10k")
    first, *others = (labels.read(entry, layouts.unpack(t, tmp_path / str(i))) for i, t in enumerate(trees))
    for other in others:
        assert list(other["image"]) == list(first["image"])
        np.testing.assert_allclose(other["mos"], first["mos"], rtol=0, atol=1e-10)
