"""Whatever a user holds an image in, its score is the same."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from skimage import data

from grmp import load
from grmp.errors import UserError


def test_files_bytes_arrays_and_images_score_the_same(tmp_path: Path):
    model, array = load(device="cpu"), data.coffee()
    Image.fromarray(array).save(tmp_path / "a.png")
    sources = [
        tmp_path / "a.png",
        str(tmp_path / "a.png"),
        (tmp_path / "a.png").read_bytes(),
        array,
        Image.fromarray(array),
    ]
    scores = model.score(sources)
    assert (scores == scores[0]).all()
    assert 0 < scores[0] < 1
    grey = model.score([array[..., 0], np.repeat(array[..., :1], 3, axis=2)])
    assert grey[0] == grey[1] != scores[0]
    with pytest.raises(UserError, match="image 1: corrupt: an array must be"):
        model.score([array, array / 255])
    table = model.table(tmp_path)
    assert table["image"].tolist() == [str(tmp_path / "a.png")]
    assert table["quality"].tolist() == scores[:1].tolist()
