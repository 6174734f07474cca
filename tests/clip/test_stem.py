"""The frozen stem: shapes, folded batch norms, and a CLIP that starts with it."""

import importlib.util
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from grmp.clip import stem
from grmp.clip.model import (
    PromptedCLIP,
    Shape,
    apply_stem,
    embed_patches,
    pixels,
)
from grmp.finetune.loop import split_tuned, tuned_names
from small import lite
from tests.golden import weights

# (kernel, stride, expansion, output channels) of blocks 0 to 15
BLOCKS = (
    (3, 1, 1, 16),
    (3, 2, 6, 24),
    (3, 1, 6, 24),
    (5, 2, 6, 40),
    (5, 1, 6, 40),
    (3, 2, 6, 80),
    (3, 1, 6, 80),
    (3, 1, 6, 80),
    (5, 1, 6, 112),
    (5, 1, 6, 112),
    (5, 1, 6, 112),
    (5, 2, 6, 192),
    (5, 1, 6, 192),
    (5, 1, 6, 192),
    (5, 1, 6, 192),
    (3, 1, 6, 320),
)


def seeded_state():
    """Weights of a Lite0 under their published names, random but for their sizes."""
    generator, state = torch.Generator().manual_seed(0), {}

    def convolution(name, norm, out, inside, kernel):
        size = (out, inside, kernel, kernel)
        state[f"{name}.weight"] = torch.randn(size, generator=generator).double() * 0.3
        for part, low in (("weight", 0.5), ("bias", -0.5), ("running_mean", -0.5), ("running_var", 0.5)):
            state[f"{norm}.{part}"] = torch.rand(out, generator=generator).double() + low

    convolution("_conv_stem", "_bn0", 32, 3, 3)
    width = 32
    for i, (kernel, _, expansion, out) in enumerate(BLOCKS):
        if expansion > 1:
            convolution(f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0", width * expansion, width, 1)
        convolution(f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1", width * expansion, 1, kernel)
        convolution(f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2", out, width * expansion, 1)
        width = out
    return state


def plain(state, x):
    """The first blocks as the published network computes them: convolution, batch norm, ReLU6, TensorFlow's padding."""

    def layer(name, norm, x, stride=1, groups=1, relu=True):
        weight = state[f"{name}.weight"]
        out = -(-x.shape[-1] // stride)
        spare = max((out - 1) * stride + weight.shape[-1] - x.shape[-1], 0)
        x = F.pad(x, (spare // 2, spare - spare // 2, spare // 2, spare - spare // 2))
        of = [state[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(F.conv2d(x, weight, stride=stride, groups=groups), *of, eps=1e-3)
        return nn.ReLU6()(x) if relu else x

    x, seen = layer("_conv_stem", "_bn0", x, 2), []
    for i, (_, stride, expansion, _) in enumerate(BLOCKS):
        y = layer(f"_blocks.{i}._expand_conv", f"_blocks.{i}._bn0", x) if expansion > 1 else x
        y = layer(f"_blocks.{i}._depthwise_conv", f"_blocks.{i}._bn1", y, stride, y.shape[1])
        y = layer(f"_blocks.{i}._project_conv", f"_blocks.{i}._bn2", y, relu=False)
        x = x + y if x.shape == y.shape else y
        seen.append(x)
    return seen


def test_folded_stem_equals_the_network_with_batch_norms():
    state = seeded_state()
    x = torch.randn((2, 3, 64, 64), generator=torch.Generator().manual_seed(1)).double()
    got, seen = stem.features(lite.fold(state), x), plain(state, x)
    assert got.shape == (2, stem.CHANNELS, 2, 2)
    torch.testing.assert_close(F.pixel_shuffle(got[:, :448], 2), seen[10])
    torch.testing.assert_close(got[:, -320:], seen[15])
    cell = seen[2][1, 5, 8:16, :8]
    torch.testing.assert_close(got[1, 448 + 5, 1, 0], cell.mean())
    torch.testing.assert_close(got[1, 448 + 24 + 5, 1, 0], cell.std(correction=0))
    cell = seen[4][0, 7, :4, 4:8]
    torch.testing.assert_close(got[0, 496 + 40 + 7, 0, 1], cell.std(correction=0))


@pytest.mark.skipif(
    importlib.util.find_spec("efficientnet_lite_pytorch") is None, reason="published code not installed"
)
def test_equals_the_published_network():
    from efficientnet_lite_pytorch import EfficientNet

    network = EfficientNet.from_name("efficientnet-lite0").eval()
    state, x = network.state_dict(), torch.randn((1, 3, 224, 224), generator=torch.Generator().manual_seed(1))
    ours = lite.Lite(lite.fold(state), lite.head(state))
    with torch.no_grad():
        torch.testing.assert_close(ours.classify(stem.features(ours.stem, x)), network(x), rtol=1e-4, atol=1e-4)


@pytest.fixture(scope="module")
def stemmed():
    """Shape and seeded weights of a CLIP with a stem, for images of 64 pixels."""
    shape = Shape(16, 64, 32, 32, 2, 2, 32, 1, 2, True, stem="lite0")
    p = weights.clip_weights(shape) | {n: t.float() for n, t in lite.fold(seeded_state()).items()}
    p["visual.conv1.weight"] = 0.01 * torch.randn((32, stem.CHANNELS, 1, 1), generator=torch.Generator().manual_seed(2))
    return shape, p


def test_a_clip_with_a_stem_has_one_token_for_each_cell(stemmed):
    shape, p = stemmed
    images = torch.randint(0, 256, (3, 3, 64, 64), generator=torch.Generator().manual_seed(3), dtype=torch.uint8)
    x = pixels(images, shape)
    torch.testing.assert_close(x, (images / 255 - 0.498) / 0.502)
    torch.testing.assert_close(pixels(images, replace(shape, normalize="clip")), x)
    assert embed_patches(p, x).shape == (3, 5, 32)
    torch.testing.assert_close(embed_patches(p, apply_stem(p, x)), embed_patches(p, x))
    assert PromptedCLIP(p, shape).image(x).shape == (3, 16)
    assert PromptedCLIP(p, shape).tokens(x).shape == (3, 5, 32)


def test_pooled_features_join_the_class_token(stemmed):
    shape, p = stemmed
    x = torch.randn((3, stem.CHANNELS, 2, 2), generator=torch.Generator().manual_seed(4))
    pooled = stem.pooled(x)
    torch.testing.assert_close(pooled[1, 5], x[1, 5].mean())
    torch.testing.assert_close(pooled[1, stem.CHANNELS + 5], x[1, 5].std())
    weight = torch.randn((32, 2 * stem.CHANNELS), generator=torch.Generator().manual_seed(5))
    moved = p | {"visual.class_embedding": p["visual.class_embedding"] + weight @ pooled[1]}
    got = PromptedCLIP(p | {stem.POOLED: weight}, shape).image(x)[1]
    torch.testing.assert_close(got, PromptedCLIP(moved, shape).image(x)[1])


def test_the_stem_stays_frozen_when_everything_is_trained(stemmed):
    shape, p = stemmed
    tuned, frozen = split_tuned(p, tuned_names(shape, ("all",), 2))
    assert {n for n in p if n.startswith(stem.PREFIX)} <= set(frozen)
    assert "visual.conv1.weight" in tuned
