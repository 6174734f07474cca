"""Tiny trainings: the real one, with its held-out numbers, is the pipeline's backbone stage."""

from typing import Any

import numpy as np
import open_clip
import pytest
import torch
from open_clip.model import CLIPTextCfg, CLIPVisionCfg

from grmp.clip import small as contrastive
from grmp.params import Architecture, ContrastiveTraining

SMALL = Architecture(
    embed_dim=32, image_size=112, patch_size=16, vision_width=64, vision_layers=3, text_width=64, text_layers=3
)
SHORT = ContrastiveTraining(pictures=28, steps=40, batch=16, learning_rate=1.0e-3, seed=3, threads=1)
Trained = tuple[dict[str, torch.Tensor], dict[str, Any]]


@pytest.fixture(scope="module")
def trained() -> Trained:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contrastive, "HELDOUT", 20)
        return contrastive.train(SMALL, SHORT)


def test_open_clip_takes_the_state(trained: Trained) -> None:
    state, _ = trained
    vision = CLIPVisionCfg(layers=3, width=64, patch_size=16, image_size=112, head_width=64)
    model = open_clip.CLIP(32, vision, CLIPTextCfg(width=64, heads=1, layers=3), quick_gelu=True)
    model.load_state_dict(state, strict=True)
    assert {t.dtype for t in state.values()} == {torch.float32}
    assert state["token_embedding.weight"].shape == (49408, 64)


def test_only_words_that_occur_are_trained(trained: Trained) -> None:
    fresh = contrastive._build(SMALL, SHORT.seed).state_dict()["token_embedding.weight"]
    moved = (trained[0]["token_embedding.weight"] != fresh).any(1)
    tokenize = open_clip.tokenize
    assert not moved[tokenize("zebra quartet")[0, 1:3]].any()
    assert moved[tokenize("high quality")[0, 1:3]].all()
    assert moved.sum() < 100


def test_loss_falls_and_measurements_are_whole(trained: Trained) -> None:
    measured = trained[1]
    history = measured["loss_history"]
    assert np.mean(history[-8:]) < 0.95 * np.mean(history[:4])
    assert measured["training_pictures"] == SHORT.pictures * contrastive.VARIANTS
    assert measured["heldout_pictures"] == 20
    assert -1 <= measured["heldout_srcc_low"] <= measured["heldout_srcc"] <= measured["heldout_srcc_high"] <= 1
    assert measured["chance"] == pytest.approx(1 / 14)


def test_same_seed_same_bytes_and_the_global_generator_is_left_alone(trained: Trained) -> None:
    torch.manual_seed(99)
    before = torch.get_rng_state()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contrastive, "HELDOUT", 20)
        again, measured = contrastive.train(SMALL, SHORT)
        other, _ = contrastive.train(SMALL, SHORT.model_copy(update={"seed": 4, "steps": 1}))
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(t, again[name]) for name, t in trained[0].items())
    assert measured["heldout_srcc"] == trained[1]["heldout_srcc"]
    assert not torch.equal(other["visual.conv1.weight"], again["visual.conv1.weight"])


def test_text_without_padding_is_open_clips_text() -> None:
    model = contrastive._build(SMALL, seed=0).eval()
    tokens = open_clip.tokenize(["a photo.", "a photo of a very long page of text with low quality."])
    with torch.no_grad():
        torch.testing.assert_close(contrastive._encode_text(model, tokens), model.encode_text(tokens, normalize=True))


def test_symmetric_loss_of_known_values() -> None:
    logits = torch.tensor([[2.0, 0.0], [1.0, 1.0], [0.0, 3.0]])
    one_each = torch.tensor([[1.0, 0.0], [0.0, 0.0], [0.0, 1.0]])  # nothing is true of the second picture
    rows = np.log1p(np.exp([-2.0, -3.0])).mean()
    columns = np.mean([np.log(np.exp([0, -1, -2]).sum()), np.log(np.exp([-3, -2, 0]).sum())])
    assert contrastive._symmetric(logits, one_each).item() == pytest.approx((rows + columns) / 2, rel=1e-6)
    # two captions that are true of a picture alike share its target: the loss is least where both are equally near
    both = torch.tensor([[1.0, 1.0]])
    near = [contrastive._symmetric(torch.tensor([[a, 1.0]]), both).item() for a in (0.5, 1.0, 1.5)]
    assert near[1] < min(near[0], near[2])


def test_the_first_filters_whiten_patches() -> None:
    """Responses of the starting patch embedding to the training patches are uncorrelated and have unit variance."""
    pictures = contrastive._render("train", 28, 2, seed=0)
    model = contrastive._build(SMALL, seed=0)
    contrastive._start(model, pictures.images, seed=0)
    with torch.no_grad():
        responses = model.visual.conv1(contrastive._pixels(contrastive._crop(pictures.images, 112)))
    covariance = torch.cov(responses.transpose(0, 1).flatten(1))
    leading = covariance[:32, :32]
    assert torch.allclose(leading, torch.eye(32), atol=0.1)


def test_pictures_and_what_is_true_of_them() -> None:
    pictures = contrastive._render("validation", 9, contrastive.VARIANTS, seed=0)
    assert (pictures.opinion[:: contrastive.VARIANTS] == 5).all()  # the clean ones
    assert (pictures.word[:: contrastive.VARIANTS] == -1).all()
    assert (pictures.opinion < 5).sum() >= 9 * (contrastive.VARIANTS - 1) - 3
    for group in contrastive._wordings(pictures).values():
        for wording in group:
            sums = wording.truth.sum(1)
            assert ((sums - 1).abs().lt(1e-5) | (sums == 0)).all()
            assert wording.truth.shape == (len(pictures.opinion), len(wording.tokens))
    best = contrastive._wordings(pictures)["quality"][0].truth[:, 0].numpy()
    assert np.array_equal(np.argsort(best, kind="stable"), np.argsort(pictures.opinion, kind="stable"))
