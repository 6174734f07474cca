"""The functional towers against open_clip's own, and against a plain prompted tower written out token by token."""

import pytest
import torch

from bench.plain import Prompted, build
from grmp.clip.model import (
    PromptedCLIP,
    Shape,
    embed_patches,
    image_blocks,
    pixels,
    prompted_texts,
    random_prompts,
    semantic_loss,
    task_loss,
    tokenize,
)
from grmp.clip.pretrained import shape_of
from grmp.errors import UserError
from tests.golden import weights


@pytest.fixture(scope="module")
def model():
    """A small open_clip model with seeded weights."""
    from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg

    built = CLIP(
        embed_dim=24,
        vision_cfg=CLIPVisionCfg(layers=3, width=128, patch_size=8, image_size=32),
        text_cfg=CLIPTextCfg(width=64, heads=1, layers=3),
        quick_gelu=True,
    )
    state = {n: weights.value(n, tuple(t.shape)) for n, t in built.state_dict().items()}
    built.load_state_dict(state)
    return built.eval()


@pytest.fixture(scope="module")
def images():
    return torch.randint(0, 256, (5, 3, 32, 32), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)


def test_equals_open_clip(model, images):
    shape, p = shape_of(model, "clip"), dict(model.state_dict())
    assert shape == Shape(24, 32, 8, 128, 3, 2, 64, 3, 1, True, "clip")
    x, tokens = pixels(images, shape), tokenize(["a cat", "a photo with high quality."])
    with torch.no_grad():
        torch.testing.assert_close(PromptedCLIP(p, shape).image(x), model.encode_image(x, normalize=True))
        torch.testing.assert_close(PromptedCLIP(p, shape).text(tokens), model.encode_text(tokens, normalize=True))


@pytest.mark.parametrize("norm", ["layer", "identity"])
def test_prefix_equals_all_tokens(model, images, norm):
    shape = shape_of(model, "imagenet")
    prompts = random_prompts(shape, 6, 0, 4, norm, torch.Generator().manual_seed(0))
    p, x = dict(model.state_dict()) | prompts, pixels(images, shape)
    tokens = tokenize(prompted_texts(["high quality", "low quality"], 4))
    plain = Prompted(build(shape, dict(model.state_dict())), prompts, tokens)
    with torch.no_grad():
        torch.testing.assert_close(PromptedCLIP(p, shape).image(x), plain.encode_image(x), atol=1e-5, rtol=0)
        text = PromptedCLIP(p, shape).text(tokens, p["ctx"])
        torch.testing.assert_close(text, plain.encode_quality(), atol=1e-5, rtol=0)


def test_blocks_beyond_the_prompted_ones_are_plain(model, images):
    shape = shape_of(model, "imagenet")
    prompts = random_prompts(shape, 6, 2, 4, "identity", torch.Generator().manual_seed(0))
    p, x = dict(model.state_dict()) | prompts, pixels(images, shape)
    with torch.no_grad():
        h = image_blocks(p, embed_patches(p, x), shape, 0, 2)
        expected = model.visual.ln_post(model.visual.transformer.resblocks[2](h))[:, 0] @ model.visual.proj
        expected = torch.nn.functional.normalize(expected, dim=-1)
        torch.testing.assert_close(PromptedCLIP(p, shape).image(x), expected, atol=1e-5, rtol=0)


def test_context_replaces_the_words_it_stands_for(model):
    shape, p = shape_of(model, "clip"), dict(model.state_dict())
    words = tokenize(["a bright day high quality."])
    with torch.no_grad():
        context = p["token_embedding.weight"][words[0, 1:4]]
        prompted = tokenize(prompted_texts(["high quality"], 3))
        torch.testing.assert_close(PromptedCLIP(p, shape).text(prompted, context), PromptedCLIP(p, shape).text(words))


def test_dropout_acts_on_each_image(model, images):
    shape = shape_of(model, "clip")
    p = dict(model.state_dict()) | random_prompts(shape, 6, 0, 4, "layer", torch.Generator().manual_seed(0))
    x = pixels(images[:1], shape).expand(3, -1, -1, -1)
    masks = torch.ones(3, 3, 6, 128)  # blocks, images, prompts, width
    masks[2, 1, 4] = 0
    with torch.no_grad():
        out, plain = PromptedCLIP(p, shape).image(x, masks), PromptedCLIP(p, shape).image(x)
    torch.testing.assert_close(out[[0, 2]], plain[[0, 2]])
    assert not torch.allclose(out[1], plain[1])


def test_random_prompts_are_seeded_and_sized_as_published():
    shape = Shape(512, 224, 16, 768, 12, 12, 512, 12, 8, True)
    one, two = (random_prompts(shape, 100, 0, 4, "layer", torch.Generator().manual_seed(5)) for _ in range(2))
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert sum(t.numel() for t in one.values()) == 1_515_776
    bound = (6 / (3 * 16**2 + 768)) ** 0.5
    assert 0.99 * bound < float(one["visual.deep_prompt_embeddings"].abs().max()) <= bound
    assert float(one["ctx"].std()) == pytest.approx(0.02, rel=0.1)
    assert random_prompts(shape, 0, 0, 4, "identity", torch.Generator()).keys() == {"ctx"}  # plain CLIP


def test_losses():
    quality = torch.tensor([[2.0, 0.0], [0.0, 0.0]])
    p = torch.sigmoid(torch.tensor(2.0))
    expected = (-(0.25 * p.log() + 0.75 * (1 - p).log()) + torch.log(torch.tensor(2.0))) / 2
    torch.testing.assert_close(task_loss(quality, torch.tensor([0.25, 0.9])), expected)
    one, other = (task_loss(quality[i : i + 1], torch.tensor([y])) for i, y in enumerate((0.25, 0.9)))
    weighted = task_loss(quality, torch.tensor([0.25, 0.9]), torch.tensor([1.5, 0.5]))
    torch.testing.assert_close(weighted, (1.5 * one + 0.5 * other) / 2)
    scenes = torch.tensor([[1.0, 2.0, 3.0]])
    entropy = -(scenes.softmax(-1) * scenes.log_softmax(-1)).sum()
    torch.testing.assert_close(semantic_loss(scenes, scenes), entropy)


def test_refuses_towers_that_cannot_be_prompted():
    from open_clip import create_model

    model = create_model("coca_ViT-B-32", device="meta")
    with pytest.raises(UserError, match="not a plain ViT CLIP"):
        shape_of(model, "clip")
