"""Whatever a user holds an image in, its score is the same; the shipped scorer: card, second head, distortions, faults."""

import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from skimage.filters import gaussian
from skimage.transform import resize
from torch.nn import functional as F

from grmp import load
from grmp.clip import shipped, stem
from grmp.clip.model import PromptedCLIP
from grmp.errors import UserError
from grmp.finetune.scorer import HEAD
from grmp.finetune.scorer import load as load_from
from small import packing


@pytest.fixture(scope="module")
def scorer():
    return load(device="cpu")


def test_files_bytes_arrays_and_images_score_the_same(scorer, tmp_path: Path):
    array, path = data.coffee(), tmp_path / "a.png"
    Image.fromarray(array).save(path)
    scores = scorer.score([path, str(path), path.read_bytes(), array, Image.fromarray(array)])
    assert (scores == scores[0]).all()
    for one in (path, str(path), path.read_bytes(), array, Image.fromarray(array)):  # without a list
        assert scorer.score(one).tolist() == scores[:1].tolist()
    assert scorer.score(np.stack([array, array])).tolist() == scores[:2].tolist()
    assert 0 < scores[0] < 1
    grey = scorer.score([array[..., 0], np.repeat(array[..., :1], 3, axis=2)])
    assert grey[0] == grey[1] == scorer.score(array[..., 0])[0] != scores[0]
    with pytest.raises(UserError, match="image 1: an array must be"):
        scorer.score([array, array / 255])
    table = scorer.table(tmp_path)
    assert table["image"].tolist() == [str(path)]
    assert table["quality"].tolist() == scores[:1].tolist()


def prepared(image):
    """(H, W, 3) in [0, 1] -> (3, 244, 244) uint8."""
    return (255 * resize(image, (244, 244), anti_aliasing=True)).astype(np.uint8).transpose(2, 0, 1)


def test_scores_fall_with_blur_and_noise(scorer):
    rng = np.random.default_rng(0)
    for image in (data.astronaut() / 255, data.coffee() / 255):
        blurred = [prepared(gaussian(image, sd, channel_axis=2)) for sd in (0.1, 3, 8)]
        noisy = [prepared(np.clip(image + rng.normal(0, sd, image.shape), 0, 1)) for sd in (0, 0.2, 0.5)]
        for versions in (blurred, noisy):
            score = scorer.quality(np.stack(versions))
            assert ((score > 0) & (score < 1)).all()
            assert score[0] > score[1] > score[2]


def test_the_card_says_how_to_read_a_score(scorer):
    card, scale = scorer.card, scorer.scale
    assert (card["size"], card["aspect"], len(card["percentiles"])) == (244, "squash", 101)
    assert (scale.low, scale.high, scale.higher_better) == (0, 1, True)
    assert card["percentiles"] == sorted(card["percentiles"])
    assert card["errors"] == sorted(card["errors"])
    assert 0 <= card["errors"][0] < card["errors"][-1] < 1


def test_the_second_head_adds_to_the_log_odds(scorer):
    x = torch.randn((2, 3, 224, 224), generator=torch.Generator().manual_seed(0))
    p = {n: t for n, t in scorer.clip.weights.items() if not n.startswith(HEAD)}
    without = replace(scorer, clip=PromptedCLIP(p, scorer.clip.shape))
    first, second = torch.nn.Linear(1792, 512), torch.nn.Linear(512, 1)
    for i, layer in enumerate((first, second)):
        layer.load_state_dict({part: scorer.clip.weights[f"{HEAD}{i}.{part}"] for part in ("weight", "bias")})
    with torch.no_grad():
        added = second(F.gelu(first(stem.pooled(stem.features(p, x)))))[:, 0]
        torch.testing.assert_close(scorer.logit(x), without.logit(x) + added)


def test_few_photographs_stand_for_the_thousand_behind_the_percentiles(scorer):
    found = scorer.among_photographs()
    assert found["known"] == "100 photographs of BIQ2021"
    among_thousand = scorer.judge(np.array(found["percentiles"]))["percentile"]
    assert np.abs(among_thousand - np.arange(101)).mean() < 2
    plain = replace(scorer, clip=PromptedCLIP({}, replace(scorer.clip.shape, stem="")))
    assert plain.among_photographs() == {}


def test_a_saved_copy_scores_the_same(scorer, tmp_path):
    image = prepared(data.chelsea() / 255)[None]
    scorer.save(tmp_path / "copy.safetensors")
    assert load(tmp_path / "copy.safetensors", device="cpu").quality(image) == scorer.quality(image)


def test_a_corrupt_or_incompatible_file_is_one_line(tmp_path):
    folder = tmp_path / "weights"
    shutil.copytree(shipped.FOLDER, folder)
    tensors, card, _ = shipped.read(shipped.SCORER)
    packing.write(shipped.SCORER, {n: t for n, t in tensors.items() if n != "visual.proj"}, card, folder)
    with pytest.raises(UserError, match=r"photo is not a quality model of this version .*; install the package again$"):
        load_from(folder=folder)
    (folder / "photo.safetensors").write_bytes(b"x")
    with pytest.raises(UserError, match=r"photo\.safetensors is missing or corrupt .*; install the package again$"):
        load_from(folder=folder)


def test_importing_load_imports_no_torch():
    code = "import sys; from grmp import load; assert not {'torch', 'pandas', 'pydantic'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_settings_of_torch_in_the_callers_process_stay(monkeypatch: pytest.MonkeyPatch):
    """Scores are the same with any number of threads, and torch computes with those of the caller afterwards."""

    def settings():
        with ThreadPoolExecutor(1) as pool:
            started_later = pool.submit(torch.get_num_threads).result()
        return (
            torch.get_num_threads(),
            started_later,
            torch.backends.cudnn.allow_tf32,
            torch.get_float32_matmul_precision(),
        )

    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        torch.set_float32_matmul_precision("medium")
        found, image = settings(), data.coffee()
        model = load_from(device="cpu")
        threaded = model.score([image])
        assert settings() == found
        next(model.rate([image, image]))  # its caller wants no second result
        assert settings() == found
    finally:
        torch.set_float32_matmul_precision("highest")
        torch.set_num_threads(before)
    assert model.score([image]) == threaded


def test_a_score_that_is_not_finite_is_a_failure(scorer):
    broken = replace(scorer, text=torch.full_like(scorer.text, torch.nan))
    ((quality, reason),) = broken.rate([data.coffee()])
    assert np.isnan(quality).all()
    assert reason == "its score is not finite"


@pytest.mark.parametrize(("device", "said"), [("gpu", "choose auto, cpu or cuda"), ("cuda", "torch finds no GPU")])
def test_a_device_that_is_not_there_is_named(device: str, said: str, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(UserError, match=f"device {device}: {said}"):
        load_from("small", device)
