"""Reduced precision: what is rounded, what is not, and how far it is from float32."""

import pytest
import torch
import torch.nn.functional as F

from grmp.clip.model import PromptedCLIP, tokenize
from grmp.clip.precision import reduced
from tests.golden import weights
from tests.worlds import SHAPE

CPU = torch.device("cpu")


def operands():
    generator = torch.Generator().manual_seed(0)
    return (torch.randn(size, generator=generator) for size in ((5, 16), (7, 16), (7,)))


def test_float16_on_a_cpu_rounds_operands_and_results_and_sums_in_float32():
    x, w, b = operands()
    with reduced(CPU, "float16"):
        y = F.linear(x, w, b)
        z = x @ w.T
        e = torch.einsum("ij,kj->ik", x, w)
    assert y.dtype == z.dtype == e.dtype == torch.float16
    assert torch.equal(y, F.linear(x.half().float(), w.half().float(), b.half().float()).half())
    assert torch.equal(z, (x.half().float() @ w.half().float().T).half())
    assert torch.equal(e, z)
    torch.testing.assert_close(y.float(), F.linear(x, w, b), rtol=5e-3, atol=5e-3)


def test_normalising_operations_run_in_float32():
    x, _, _ = operands()
    with reduced(CPU, "float16"):
        found = F.layer_norm(x.half(), (16,)), x.half().softmax(-1), F.normalize(x.half(), dim=-1), x.softmax(-1)
    rounded = x.half().float()
    expected = F.layer_norm(rounded, (16,)), rounded.softmax(-1), F.normalize(rounded, dim=-1), x.softmax(-1)
    assert all(torch.equal(a, b) for a, b in zip(found, expected, strict=True))


def test_residual_streams_are_those_of_the_released_code():
    """float16 in the image tower, float32 in the text tower; without reduced precision nothing changes."""
    p = weights.clip_weights(SHAPE)
    x = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    clip, tokens = PromptedCLIP(p, SHAPE), tokenize(["a photo with high quality."])
    with reduced(CPU, "float16"):
        features = clip.features(x, 2)
        image, text = clip.image_from(features, 2), clip.text(tokens)
    assert features.dtype == torch.float16
    assert image.dtype == text.dtype == torch.float32
    torch.testing.assert_close(features.float(), clip.features(x, 2), rtol=0.05, atol=0.05)
    torch.testing.assert_close(image, clip.image(x), rtol=0.05, atol=0.02)
    torch.testing.assert_close(text, clip.text(tokens), rtol=0.05, atol=0.02)


def test_small_gradients_vanish_in_the_image_tower():
    """float16 has no number below 6e-8, and there is no loss scaling (departure 13)."""
    p = weights.clip_weights(SHAPE)
    name = "visual.transformer.resblocks.0.ln_1.bias"
    p[name] = p[name].requires_grad_()
    x = torch.randn((2, 3, 32, 32), generator=torch.Generator().manual_seed(0))
    sizes = {}
    for precision in ("float16", "float32"):
        with reduced(CPU, precision):
            loss = 1e-8 * PromptedCLIP(p, SHAPE).image(x).sum()
        sizes[precision] = float(torch.autograd.grad(loss, p[name])[0].abs().max())
    assert sizes["float16"] == 0 < sizes["float32"]


def test_gradients_pass_rounded():
    x, w, b = operands()
    w.requires_grad_()
    with reduced(CPU, "float16"):
        loss = F.linear(x, w, b).float().square().mean()
    (found,) = torch.autograd.grad(loss, w)
    assert torch.equal(found, found.half().float())
    (exact,) = torch.autograd.grad(F.linear(x, w, b).square().mean(), w)
    torch.testing.assert_close(found, exact, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize(("precision", "kind"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_others_are_torch_s_own(precision, kind):
    x, w, b = operands()
    with reduced(CPU, precision):
        assert F.linear(x, w, b).dtype == kind
