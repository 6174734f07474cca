"""The decoder: images that look the same give the same pixels; what cannot be decoded is named."""

import os
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from skimage import transform

from grmp.data import decode
from grmp.data.decode import Unsupported, fit, load, open_any, read_images

RNG = np.random.default_rng(0)
SMOOTH = Image.fromarray(RNG.integers(0, 256, (12, 16, 3), np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)


def save(folder: Path, image: Image.Image, name: str, **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


def test_databases_keep_pixels_as_stored_but_upright(tmp_path):
    cut, exif = SMOOTH.copy(), Image.Exif()
    exif[0x0112] = 6
    cut.putalpha(0)
    path = save(tmp_path, cut, "a.png", exif=exif, icc_profile=b"corrupt")
    assert np.array_equal(np.asarray(load(path, False)), np.rot90(np.asarray(SMOOTH), -1))
    path = save(tmp_path, Image.fromarray(np.arange(65536, dtype=np.uint16).reshape(256, 256)), "b.png")
    with pytest.raises(Unsupported, match="8 bits per channel"):
        load(path, displayed=False)
    assert read_images([none := tmp_path / "none.png"], 8, "squash") == ({}, {none: "missing"})


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
def test_every_colour_mode_becomes_rgb(tmp_path, mode):
    path = save(tmp_path, Image.new(mode, (12, 10)), "a.tif" if mode == "CMYK" else "a.png")
    assert fit(load(path, displayed=False), 8, "squash").shape == (3, 8, 8)


def prepared(path: Path, view: str, size: int = 244, aspect: str = "squash") -> np.ndarray:
    return decode.resized(path, load(path, displayed=False), view, size, aspect)


def released(path: Path, view: str) -> np.ndarray:
    """As data_preparation_livec_mat.py and pretrain.py write it."""
    if view == "opencv":
        image = cv2.cvtColor(cv2.imread(str(path), 1), cv2.COLOR_BGR2RGB)
        return cv2.resize(image, (244, 244), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)
    side = {"support": 256, "query": 224}[view]
    image = np.asarray(Image.open(path).convert("RGB"))
    return 255 * transform.resize(image, (side, side)).transpose(2, 0, 1)


@pytest.mark.parametrize("name", ["a.jpg", "a.bmp"])
@pytest.mark.parametrize("view", decode.VIEWS[1:])
def test_resized_as_released(tmp_path, name, view):
    path = save(tmp_path, Image.fromarray(RNG.integers(0, 256, (300, 400, 3), np.uint8)), name)
    found, wanted = prepared(path, view), released(path, view)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= (0 if view == "opencv" else 0.5 + 1e-9)


def test_real_photographs_resized_as_released(shared):
    paths = sorted((shared / "real/clive/ChallengeDB_release/Images").glob("*.JPG"))[::40]
    assert len(paths) > 10
    for path in paths:
        assert (prepared(path, "opencv") == released(path, "opencv")).all(), path.name


def test_antialiasing_removes_noise_and_opencv_does_not(tmp_path):
    """White noise of sd 15 on a smooth scene of 1024 x 768."""
    scene = np.asarray(SMOOTH.resize((1024, 768), Image.Resampling.BICUBIC), float) / 4 + 96
    noise = np.random.default_rng(1).normal(0, 15, scene.shape)
    clean, noisy = (
        save(tmp_path, Image.fromarray(a.round().astype(np.uint8)), n)
        for a, n in ((scene, "a.png"), (scene + noise, "b.png"))
    )
    left = {view: float((prepared(noisy, view).astype(float) - prepared(clean, view)).std()) for view in decode.VIEWS}
    assert left["pillow"] == pytest.approx(3.4, abs=0.1)
    assert left["opencv"] == pytest.approx(12.8, abs=0.1)


@pytest.mark.parametrize("view", decode.VIEWS)
def test_every_view_is_upright_and_keeps_the_aspect(tmp_path, view):
    """The right quarter of 40 x 20 is white; stored lying on its side."""
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 30:] = 255
    exif = Image.Exif()
    exif[0x0112] = 8
    path = save(tmp_path, Image.fromarray(wide).rotate(-90, expand=True), "a.png", exif=exif)
    squashed, kept = (prepared(path, view, 20, aspect) for aspect in ("squash", "keep"))
    assert (squashed[:, :, -3:] > 250).all()
    assert (squashed[:, :, :13] == 0).all()
    assert kept.shape == squashed.shape == (3, *[decode.side(view, 20)] * 2)
    assert kept.max() == 0


@pytest.mark.timeout(20)
def test_a_pipe_is_not_read_without_end(tmp_path):
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(ValueError, match="not a regular file"):
        open_any(tmp_path / "pipe.jpg")
