"""Relevance maps add up, components are those of the covariance; the stages look and steps give the same bytes twice."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from grmp.clip import checkpoints
from grmp.clip.model import prompted_texts, random_prompts, tokenize
from grmp.errors import UserError
from grmp.experiments.attribution import attribution, principal, relevance
from grmp.finetune.scorer import QualityModel
from grmp.params import load
from tests import worlds
from tests.experiments.conftest import edit
from tests.golden import weights


@pytest.fixture(scope="module")
def eye() -> QualityModel:
    """A CLIP of random weights with random prompts."""
    shape, generator = worlds.SHAPE, torch.Generator().manual_seed(3)
    tensors = weights.clip_weights(shape) | random_prompts(shape, 3, 0, 4, "identity", generator)
    return QualityModel.of(tensors, shape, tokenize(prompted_texts(["high quality", "low quality"], 4)))


def pictures(count: int, seed: int = 0) -> torch.Tensor:
    noise = torch.randn((count, 3, 32, 32), generator=torch.Generator().manual_seed(seed))
    return noise + torch.linspace(-1, 1, 32)


def test_patches_add_up_to_the_difference_and_more_steps_leave_less_over(eye: QualityModel):
    x = pictures(3)
    maps, gap = relevance(eye, x, steps=64)
    assert maps.shape == (3, 4, 4)
    with torch.no_grad():
        difference = eye.logit(x) - eye.logit(x.mean((2, 3), keepdim=True).expand_as(x))
    assert torch.allclose(maps.sum((1, 2)) + gap, difference, atol=1e-6)
    assert gap.abs().max() < 0.02 * maps.abs().sum((1, 2)).max()
    assert gap.abs().max() < relevance(eye, x, steps=2)[1].abs().max()


def test_a_patch_that_is_flat_in_mean_colour_has_no_relevance(eye: QualityModel):
    x = pictures(1)
    rest = torch.ones(32, 32, dtype=torch.bool)
    rest[8:16, 8:16] = False
    x[..., ~rest] = 0
    x[..., rest] -= x[..., rest].mean(-1, keepdim=True)  # so the flat picture is 0 everywhere
    maps, _ = relevance(eye, x)
    assert maps[0, 1, 1].abs() < 1e-6
    assert maps.abs().max() > 1e-4


def test_the_score_is_the_sigmoid_of_the_logit(eye: QualityModel):
    x = pictures(2)
    assert torch.allclose(torch.sigmoid(eye.logit(x)), eye.clip.quality(x, eye.text), atol=1e-6)


def test_components_are_those_of_the_covariance():
    x = np.random.default_rng(0).normal(size=(40, 5)) * [5, 3, 1, 1, 1]
    xy, explained = principal(x)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    assert explained == pytest.approx(values[::-1][:2] / values.sum())
    assert np.abs(xy) == pytest.approx(np.abs((x - x.mean(0)) @ vectors[:, ::-1][:, :2]))
    assert np.allclose(principal(x[::-1])[0][::-1], xy)  # the sign does not hang on the order


def test_more_labels_than_there_are_are_refused(world: Path):
    edit(world, attribution={"shots": 19})
    with pytest.raises(UserError, match="19 shots requested, but the training side of target has 18"):
        attribution(load(world), world.parent, "target")


def test_two_looks_same_bytes_on_any_number_of_cores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    params = load(worlds.build(tmp_path))
    prompts = random_prompts(worlds.SHAPE, 3, 0, 4, "identity", torch.Generator().manual_seed(1))
    metadata = {"backbone": checkpoints.load(tmp_path).sha256}  # as if they were meta-learned
    checkpoints.save(tmp_path / "models/prompts/fomaml.safetensors", prompts, metadata)
    files = [tmp_path / "results/attribution/target.csv", tmp_path / "results/attribution/target.npz"]
    attribution(params, tmp_path, "target")
    first = [file.read_bytes() for file in files]
    monkeypatch.setattr("grmp.experiments.attribution.cpus", lambda: 1)
    attribution(params, tmp_path, "target")
    assert [file.read_bytes() for file in files] == first
    table, kept = pd.read_csv(files[0]), np.load(files[1])
    assert kept["models"].tolist() == ["before", "meta_prompts", "grmp"]
    assert kept["pixels"].shape == (4, 3, 32, 32)
    assert kept["relevance"].shape == (3, 4, 4, 4)
    quality = table.set_index("image").loc[kept["images"], "quality"].tolist()
    assert quality == [*sorted(table["quality"])[:2], *sorted(table["quality"])[-2:]]
    assert set(table["scene"]) <= set(params.adapt.scenes)
    scores = [table.set_index("image").loc[kept["images"], f"score_{m}"].to_numpy() for m in kept["models"]]
    assert not np.allclose(scores[0], scores[1])  # adaptation has moved it
    assert not np.allclose(scores[1], scores[2], atol=0)
