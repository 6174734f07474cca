"""Red patches are where an image is degraded; words follow the degradation; an unknown word is not an answer."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageEnhance, ImageFilter
from skimage import data
from typer.testing import CliRunner

from grmp.cli import app
from grmp.clip.model import pixels
from grmp.errors import UserError
from grmp.experiments.attribution import relevance
from grmp.finetune.scorer import QualityModel
from grmp.use import explain


def test_a_blurred_half_is_less_relevant_than_the_same_half_when_sharp(model: QualityModel):
    sharp = Image.fromarray(data.coffee())
    blurred = sharp.filter(ImageFilter.GaussianBlur(6)).crop((0, 0, sharp.width // 2, sharp.height))
    half = sharp.copy()
    half.paste(blurred)
    both = np.concatenate([model.prepare(image) for image in (sharp, half)])
    maps, gap = relevance(model, pixels(torch.from_numpy(both), model.clip.shape))
    assert (gap.abs() < 0.03 * maps.abs().sum((1, 2))).all()  # 0.06 and 0.13 if points are equally far apart
    change = (maps[1] - maps[0]).numpy()  # (7, 7); the middle column has both halves
    assert change[:, :3].sum() < min(0, change[:, 4:].sum())


def test_words_follow_the_degradation():
    image, rng = Image.fromarray(data.astronaut()), np.random.default_rng(0)
    noisy = Image.fromarray((data.astronaut() + rng.normal(0, 30, (512, 512, 3))).clip(0, 255).astype(np.uint8))
    for pair, worse in (
        (("sharp", "blurry"), image.filter(ImageFilter.GaussianBlur(3))),
        (("clean", "noisy"), noisy),
        (("bright", "dark"), ImageEnhance.Brightness(image).enhance(0.3)),
    ):
        texts = explain.WORDS[pair]
        assert explain.agrees(worse, [texts]) < explain.agrees(image, [texts])
    with pytest.raises(UserError, match="has never read the words"):
        explain.agrees(image, [("a colourful photo", "a dull photo")])


def test_colourfulness():
    grey = np.full((8, 8, 3), 90, np.uint8)
    assert explain.colourful(grey) == 0
    red_green = np.zeros((8, 8, 3), np.uint8)
    red_green[:4, :, 0] = red_green[4:, :, 1] = 100
    # r - g is +100 or -100, (r + g) / 2 - b is 50: M = 100 + 0.3 * 50
    assert explain.colourful(red_green) == pytest.approx(min(1, 115 / 109))
    assert explain.colourful(red_green // 2) == pytest.approx(57.5 / 109)


def test_the_overlay_colours_patches_by_sign_and_leaves_the_margin():
    image = Image.new("RGB", (100, 60), (128, 128, 128))
    found = np.asarray(explain.overlay(image, np.array([[-2.0, 1.0]]), 0.8, "squash")).astype(int)
    left, right, margin = found[30, 20], found[30, 80], found[2, 2]
    assert left[0] > left[2]  # red lowers
    assert right[2] > right[0]  # blue raises
    assert margin.tolist() == [128, 128, 128]


def test_the_command(photographs: Path, tmp_path: Path):
    out, image = tmp_path / "o.png", photographs / "coffee_blurred.jpg"
    texts = ("a sharp photo", "a blurry photo")
    CliRunner().invoke(app, ["explain", str(image), "-o", str(out)])  # an overlay may be written again
    found = CliRunner().invoke(app, ["explain", str(image), "-o", str(out), "--json", "--text", *texts])
    shown = json.loads(found.stdout)
    assert list(shown) == ["quality", *(" / ".join(p) for p in (*explain.WORDS, texts)), "colourful / dull"]
    assert shown["sharp / blurry"] < 0.5
    with Image.open(out) as picture, Image.open(image) as original:
        assert picture.size == original.size


def test_a_folder_is_no_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"\.: not a regular file"):
        CliRunner().invoke(app, ["explain", "."], catch_exceptions=False, standalone_mode=False)


def test_no_photograph_is_replaced(photographs: Path, tmp_path: Path):
    """As `-o *.png` asks for in a folder with two of them."""
    other = tmp_path / "a.png"
    Image.new("RGB", (8, 8)).save(other)
    before = other.read_bytes()
    for command, said in (
        (["explain", str(photographs / "coffee_blurred.jpg"), "-o"], "exists and was not written by this command"),
        (["export", "--onnx"], "give it the ending .onnx"),
    ):
        with pytest.raises(UserError, match=rf"a\.png:? {said}"):
            CliRunner().invoke(app, [*command, str(other)], catch_exceptions=False, standalone_mode=False)
    assert other.read_bytes() == before
