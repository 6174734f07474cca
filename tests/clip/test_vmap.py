"""Functions mapped over splits give what each split gives alone."""

import torch

from grmp.clip.vmap import stack_params, vmap_splits

SPLITS = [{"w": torch.arange(3.0) + i, "b": torch.tensor(float(i))} for i in range(4)]


def test_stacked_tensors_are_fresh():
    stacked = stack_params(SPLITS)
    assert stacked["w"].shape == (4, 3)
    stacked["w"][0] = 9
    assert SPLITS[0]["w"].tolist() == [0, 1, 2]


def test_equals_a_loop_over_nested_dictionaries_and_tuples():
    def function(p, pair):
        x, scale = pair
        return {"out": (p["w"] * x).sum() + p["b"]}, scale * x

    x, scale = torch.randn(4, 3), torch.randn(4)
    found, scaled = vmap_splits(function, stack_params(SPLITS), (x, scale))
    for i, p in enumerate(SPLITS):
        expected, each = function(p, (x[i], scale[i]))
        torch.testing.assert_close(found["out"][i], expected["out"])
        torch.testing.assert_close(scaled[i], each)


def test_one_split_runs_without_vmap():
    def function(p):
        assert not torch._C._functorch.is_batchedtensor(p["w"])
        return p["w"] * 2, float(p["b"])  # a number cannot be read inside vmap

    found, _ = vmap_splits(lambda p: (function(p)[0], p["b"]), stack_params(SPLITS[2:3]))
    assert found.tolist() == [[4, 6, 8]]


def test_attention_can_be_mapped_on_this_device():
    q = torch.randn(3, 2, 4, 5, 8)  # splits, images, heads, tokens, width
    found = vmap_splits(lambda x: torch.nn.functional.scaled_dot_product_attention(x, x, x), q)
    for i in range(3):
        torch.testing.assert_close(found[i], torch.nn.functional.scaled_dot_product_attention(q[i], q[i], q[i]))
