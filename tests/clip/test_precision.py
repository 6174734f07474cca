"""Reduced precision: what is rounded, what is not, and how far it is from float32."""

import pytest
import torch
import torch.nn.functional as F

from grmp.clip.precision import reduced

CPU = torch.device("cpu")


def operands(seed=0):
    generator = torch.Generator().manual_seed(seed)
    return (torch.randn(size, generator=generator) for size in ((5, 16), (7, 16), (7,)))


def test_float16_on_a_cpu_rounds_operands_and_results_and_sums_in_float32():
    x, w, b = operands()
    with reduced(CPU, "float16"):
        y = F.linear(x, w, b)
        z = x @ w.T
    assert y.dtype == torch.float32
    assert torch.equal(y, F.linear(x.half().float(), w.half().float(), b.half().float()).half().float())
    assert torch.equal(z, (x.half().float() @ w.half().float().T).half().float())
    assert not torch.equal(y, F.linear(x, w, b))
    torch.testing.assert_close(y, F.linear(x, w, b), rtol=5e-3, atol=5e-3)


def test_other_operations_keep_float32():
    x, _, _ = operands()
    with reduced(CPU, "float16"):
        assert torch.equal(F.layer_norm(x, (16,)), F.layer_norm(x, (16,)).clone())
        inside = x.softmax(-1) * 1.0001
    assert torch.equal(inside, x.softmax(-1) * 1.0001)


def test_large_values_overflow_as_on_a_gpu():
    with reduced(CPU, "float16"):
        assert torch.isinf(torch.full((1, 4), 300.0) @ torch.full((4, 1), 300.0)).all()


def test_gradients_pass_rounded():
    x, w, b = operands()
    w.requires_grad_()
    with reduced(CPU, "float16"):
        loss = F.linear(x, w, b).square().mean()
    (found,) = torch.autograd.grad(loss, w)
    assert torch.equal(found, found.half().float())
    (exact,) = torch.autograd.grad(F.linear(x, w, b).square().mean(), w)
    torch.testing.assert_close(found, exact, rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize(("precision", "kind"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_others_are_torch_s_own(precision, kind):
    x, w, b = operands()
    with reduced(CPU, precision):
        assert F.linear(x, w, b).dtype == kind
