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
    found = vmap_splits(
        lambda p: p["w"] * float(p["b"]), stack_params(SPLITS[2:3])
    )  # inside vmap a number cannot be read
    assert found.tolist() == [[4, 6, 8]]
