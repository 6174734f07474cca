"""KonIQ-10k: both official files are read on the scale from 1 to 5."""

import numpy as np

from grmp.data import databases, labels
from tests.data import layouts
from tests.data.databases.test_all import folder_of


def test_koniq_scales_agree(shared, tmp_path):
    """Both official files and the list give the same MOS on the 1-5 scale, to rounding."""
    out = []
    files = layouts.koniq10k(shared)["koniq10k_scores_and_distributions.zip"]
    for number, tree in enumerate(
        (files, {"KonIQ-10k.txt": (shared / "real/scores/lists/KonIQ-10k.txt").read_bytes()})
    ):
        out.append(labels.read(databases.get("koniq10k"), layouts.unpack(tree, tmp_path / str(number))))
    (tmp_path / "sets").mkdir()
    out.append(labels.read(databases.get("koniq10k"), folder_of("koniq10k", shared, tmp_path / "sets")))
    for other in out[1:]:
        assert list(other["image"]) == list(out[0]["image"])
        np.testing.assert_allclose(other["mos"], out[0]["mos"], rtol=0, atol=1e-10)
