"""LoRA as effective weights."""

import torch

from grmp.clip import lora
from grmp.finetune import loop
from tests.finetune.test_loop import backbone, run, world
from tests.worlds import SHAPE

__all__ = ["world"]


def test_starts_at_the_weights_themselves():
    base = backbone(torch.float32).weights
    names = lora.adapted(SHAPE, 2)
    assert len(names) == 2 * 2 * 4
    p = base | lora.start(base, names, 3, torch.Generator().manual_seed(0))
    assert all(torch.equal(t, base[n]) for n, t in lora.effective(p).items() if n in base)


def test_effective_is_the_weight_plus_the_product():
    base = backbone(torch.float32).weights
    (name, *_) = names = lora.adapted(SHAPE, 1)
    low = {n: torch.ones_like(t) for n, t in lora.start(base, names, 3, torch.Generator()).items()}
    assert low[name + lora.A].shape == (3, base[name].shape[1])
    found = lora.effective(base | low)
    torch.testing.assert_close(found[name], base[name] + 3)
    assert found.keys() == base.keys()


def test_trains_the_low_rank_parts_alone(world):
    base = backbone(torch.float32).weights
    names = lora.adapted(SHAPE, 1)
    low = lora.start(base, names, 2, torch.Generator())
    tuned, frozen = loop.split_tuned(base | low, loop.tuned_names(SHAPE, ["lora"], 1))
    assert set(tuned) == set(low)
    assert set(frozen) == set(base)
    outcome = run(world, train=("lora",), rule="none", epochs=30)
    assert outcome.trained_values == sum(t.numel() for t in low.values())
    assert outcome.history[-1]["task_loss"] < outcome.history[0]["task_loss"] - 0.001
