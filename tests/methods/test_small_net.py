"""Small networks beside CLIP: seeded start, fixed schedule."""

from collections import OrderedDict

import numpy as np
import torch
from torch import nn

from grmp.methods.small_net import fresh, learn
from grmp.params import Fit

CPU = torch.device("cpu")


def test_start_is_seeded_and_leaves_the_global_generator_alone():
    def build():
        return nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.Linear(4, 1), nn.Flatten(0))

    state = torch.get_rng_state()
    one, two, other = (fresh(build, torch.Generator().manual_seed(s), CPU).state_dict() for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(one[n], two[n]) for n in one)
    assert not torch.equal(one["0.weight"], other["0.weight"])
    assert one["0.bias"].abs().max() == 0
    assert torch.equal(one["1.weight"], torch.ones(4))


def linear():
    return nn.Sequential(OrderedDict(head=nn.Linear(3, 1), flat=nn.Flatten(0)))


def test_it_finds_a_linear_truth_and_its_rate_falls_to_nothing():
    x = torch.randn(64, 3, generator=torch.Generator().manual_seed(0))
    truth = (x @ torch.tensor([0.5, -1.0, 2.0])).numpy()
    settings = Fit(epochs=200, learning_rate=0.05, weight_decay=0.0, batch=16)
    model, found = learn(linear, lambda members, epoch: x[members], truth, settings, (1, 2), CPU)
    history = found.history
    assert history[-1]["task_loss"] < 1e-5 < history[0]["task_loss"]
    assert torch.allclose(model.head.weight[0], torch.tensor([0.5, -1.0, 2.0]), atol=0.01)
    assert [h["epoch"] for h in history] == list(range(200))
    assert history[0]["learning_rate"] == 0.05
    assert history[-1]["learning_rate"] < 1e-5
    assert found.trained_values == 4


def test_loss_that_is_not_finite_names_the_place():
    targets = np.array([0.0, float("nan"), 1.0])
    settings = Fit(epochs=2, learning_rate=0.5, weight_decay=0.0, batch=4)
    _, found = learn(linear, lambda members, epoch: torch.zeros(len(members), 3), targets, settings, (1, 2), CPU)
    assert found.failure == "loss is not finite at epoch 0, batch 0, learning rate 0.5"
