"""Maps, embeddings, failures, agreement and inner steps say what their files hold."""

from pathlib import Path

import numpy as np
import pytest

from grmp.errors import UserError
from grmp.report import meta_training, predictions, where_it_looks
from grmp.report.plotting import shrunk
from grmp.report.results import Results


def test_maps_lie_on_their_image(whole: Results):
    figure, (_, arrays) = where_it_looks.maps(whole, "alpha"), whole.attribution("alpha")
    grey, image = figure.axes[4 + 1].images  # the second image under the first model
    assert np.asarray(image.get_array()) == pytest.approx(arrays["relevance"][0, 1])
    assert image.norm.vmax == -image.norm.vmin == pytest.approx(np.abs(arrays["relevance"][0, 1]).max())
    assert grey.get_extent()[1] == image.get_extent()[1]  # the map lies on the image
    assert figure.axes[4].get_ylabel() == "before\nfine-tuning"


def test_every_picture_has_one_scene_marker(whole: Results):
    lower = where_it_looks.embeddings(whole, "alpha").axes[3]
    labels = [line.get_label() for line in lower.lines]
    assert len(labels) == where_it_looks.SCENES + 1
    assert labels[-1] == "other scenes"
    assert sum(len(line.get_xdata()) for line in lower.lines) == 40


def test_a_damaged_look_is_named(world: Path):
    (world / "results/attribution/alpha.npz").write_bytes(b"PK\x03\x04 no more")
    with pytest.raises(UserError, match=r"alpha\.npz is corrupt .* dvc repro -f attribution@alpha"):
        where_it_looks.maps(Results.open(world), "alpha")


def test_looks_that_lack_are_named(empty: Results):
    table = where_it_looks.model_table(empty, ["alpha"])
    assert "`dvc repro attribution@alpha`" in table.note
    assert "`dvc repro inner_curves@reptile`" in meta_training.inner_curves_table(empty).note
    note = predictions.agreement_table(empty, ["grmp"], ["alpha"], 25).note
    assert "`grmp run alpha grmp 25 --protocol sound`" in note


def test_an_image_is_no_larger_than_a_thumbnail():
    assert shrunk(np.zeros((3, 320, 480), np.uint8)).shape == (107, 160, 3)
