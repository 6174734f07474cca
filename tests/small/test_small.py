"""Training of the small CLIPs: distortions, captions, losses, and a training of seconds on made-up photographs."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from grmp.clip import model as clip
from grmp.clip import shipped, stem
from grmp.finetune import scorer
from small import captions, evaluate, features, lite, packing, photo, photographs, reference, train
from tests.clip.test_stem import seeded_state


def test_correlations_are_measured_with_intervals(monkeypatch):
    monkeypatch.setattr(evaluate, "RESAMPLES", 50)
    mos = np.arange(20.0)
    found = evaluate.measured(mos + 3 * np.random.default_rng(0).normal(size=20), mos)
    for name in ("srcc", "plcc"):
        value, low, high = found[name]
        assert 0 < low < value < high < 1


@pytest.mark.parametrize("kind", photographs.KINDS)
def test_a_higher_level_changes_more(kind):
    image = np.asarray(
        Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)).resize((128, 96))
    )
    made = [photographs.distort(image, kind, level, np.random.default_rng(1)) for level in range(1, 6)]
    assert all(m.shape == image.shape and m.dtype == np.uint8 for m in made)
    changed = [np.abs(m.astype(float) - image).mean() for m in made]
    assert changed[0] > 0
    assert changed[-1] > changed[0]


def test_versions_are_ordered_where_the_order_is_known():
    drawn = photographs.draw_versions(np.random.default_rng(0)).levels()
    assert drawn.shape == (photographs.VERSIONS, 8)
    assert drawn[0].sum() == 0
    assert drawn[1].sum() < drawn[2].sum()
    assert drawn[3].sum() < drawn[4].sum()
    np.testing.assert_array_equal(drawn[5], drawn[1] + drawn[3])


def test_ranking_loss_prefers_the_order_of_the_levels():
    levels = torch.tensor(photographs.draw_versions(np.random.default_rng(0)).levels(), dtype=torch.float32)[None]
    by_level = -levels.sum(-1)
    assert train.ranking_loss(by_level, levels) < train.ranking_loss(0 * by_level, levels)
    assert train.ranking_loss(0 * by_level, levels) < train.ranking_loss(-by_level, levels)


def test_every_imagenet_class_is_in_one_scene():
    truth = captions.scene_truth(torch.eye(1000))
    torch.testing.assert_close(truth.sum(1), torch.ones(1000))
    for scene, number in {"animal": 207, "plant": 985, "landscape": 970, "human": 982, "others": 398}.items():
        assert captions.NOUNS[number] in {"golden retriever", "daisy", "alp", "groom", "abacus"}
        assert truth[number].argmax() == captions.SCENES.index(scene)


def test_pruned_tokens_keep_the_end_of_text():
    c = captions.captions()
    rows = c.rows(c.quality)
    assert rows.max() == len(c.known) - 1
    torch.testing.assert_close(rows.argmax(-1), c.quality.argmax(-1))


@pytest.fixture
def biq2021(tmp_path, monkeypatch):
    """A folder like BIQ2021's with 20 made-up photographs, the upper case extension included."""
    monkeypatch.setattr(photographs, "_PART", {"train": 20, "test": 0})
    rng, names = np.random.default_rng(0), [f"ss01 ({i}).jpg" for i in range(20)]
    (tmp_path / "Images").mkdir()
    for name in names:
        written = name.upper() if name == names[3] else name
        Image.fromarray(rng.integers(0, 256, (64, 64, 3), np.uint8)).save(tmp_path / "Images" / written, format="JPEG")
    table = pd.DataFrame({"Image Name": names, "MOS": rng.random(20), "": ""})
    table.to_csv(tmp_path / "Train (Images and MOS).csv", index=False)
    return tmp_path


@pytest.mark.slow
def test_features_training_and_packing(biq2021, tmp_path, monkeypatch):
    network = type("Network", (), {"stem": {n: t.float() for n, t in lite.fold(seeded_state()).items()}})()
    network.classify = lambda grid: grid.mean((2, 3)).repeat(1, 2)[:, :1000]
    monkeypatch.setattr(features.lite, "load", lambda path: network)
    monkeypatch.setattr(features, "DISTORTED", 8)
    cache = tmp_path / "cache"
    features.compute(biq2021, cache)
    assert (cache / "versions.done").read_text() == "8"
    data = train.Data(cache, biq2021)
    assert len(data.views) == features.VIEWS

    settings = replace(train.PRESETS["small-rated"], epochs=2, full_epochs=1, batch=8, groups=2)
    whole = train.Trainer("whole", settings, data, cache)
    whole.run()
    halves = train.Trainer("halves", settings, data, cache)
    monkeypatch.setattr(train.Trainer, "measure", lambda self, p: {})
    halves._epoch(0)
    halves.epoch = 1
    halves.save()
    halves = train.Trainer("halves", settings, data, cache)
    halves.run()
    for name, value in whole.average.items():  # some CPU kernels round differently with the alignment of memory
        torch.testing.assert_close(halves.average[name], value, rtol=1e-5, atol=1e-7)

    exported = train.export(whole.state(), network.stem)
    packing.pack("one", train.SHAPE, exported, whole.captions.known, tmp_path / "weights")
    backbone = shipped.load("one", tmp_path / "weights")
    image = Image.open(biq2021 / "Images" / "ss01 (0).jpg")
    crop = features.crop(photographs.shrink(np.asarray(image)), None)
    x = clip.pixels(torch.from_numpy(crop.copy()).permute(2, 0, 1)[None], backbone.shape)
    got = clip.PromptedCLIP(backbone.weights, backbone.shape).image(x)
    grid = stem.features(backbone.weights, x)
    expected = train.embed(whole.average, data, grid.flatten(2).mT)
    assert float((got * expected).sum()) > 0.99  # the exported weights are float16
    cached = data.clean(0, np.array([0]))  # bfloat16 on some machines
    assert np.corrcoef(cached.flatten(), grid.flatten(2).mT.flatten())[0, 1] > 0.8  # of a random network

    second = photo.train_head(data, whole.rows, whole.groups)
    tensors, card = photo.make(whole, second, network.stem)
    joined = scorer.QualityModel(clip.PromptedCLIP(tensors, train.SHAPE), tensors.pop(scorer.TEXT))
    rows = whole.captions.rows(whole.captions.quality)
    text = clip.PromptedCLIP(whole.average, train.SHAPE).text(rows).unflatten(0, (-1, 2)).mean(0)
    grid = stem.features(tensors, x)
    both = clip.PromptedCLIP(whole.average, train.SHAPE).logits(
        train.embed(whole.average, data, grid.flatten(2).mT), text
    )
    a, b, shift = card["held out"]["weights"]
    odds = a * (both[:, 0] - both[:, 1]) + b * photo.head(second, stem.pooled(grid)) + shift
    torch.testing.assert_close(joined.logit(x), odds, rtol=1e-3, atol=1e-3)
    packing.write(shipped.SCORER, tensors | {scorer.TEXT: joined.text}, card, tmp_path / "weights")
    assert shipped.names(tmp_path / "weights") == ["one"]
    assert scorer.load(device="cpu", folder=tmp_path / "weights").card["percentiles"] == card["percentiles"]


def test_joining_weights_make_the_score_follow_mos():
    rng = np.random.default_rng(0)
    odds = torch.from_numpy(rng.standard_normal((500, 2))).float()
    mos = (odds @ torch.tensor([0.7, 0.2]) + 0.4).sigmoid()
    np.testing.assert_allclose(photo.join(odds, mos), [0.7, 0.2, 0.4], atol=1e-4)


def test_features_in_8_bits_are_off_by_half_a_step():
    grid = (
        torch.randn((5, 3, 2, 2), generator=torch.Generator().manual_seed(0))
        * torch.tensor([1.0, 100, 0])[:, None, None]
    )
    p = reference.quantized(grid)
    again = p["lowest"].float() + p["step"].float() * p["levels"]
    allowed = 0.51 * p["step"].float() + 1e-3 * grid.abs().amax((0, 2, 3))[:, None, None]
    assert p["levels"].dtype == torch.uint8
    assert ((again - grid).abs() <= allowed).all()


def test_the_photographs_of_the_reference_cover_the_ratings():
    mos = np.random.default_rng(0).uniform(size=1000)
    rows = reference.draw(mos, np.random.default_rng(1))
    assert (np.argsort(np.argsort(mos))[rows] // 10 == np.arange(100)).all()
    assert (rows == reference.draw(mos, np.random.default_rng(1))).all()
    assert (rows != reference.draw(mos, np.random.default_rng(2))).any()
