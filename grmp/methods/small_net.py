"""Small networks of one's own beside CLIP: a seeded start, and a fixed schedule of AdamW on quality or on a teacher's scores.

The loss is Huber's (smooth L1) and the rate falls along a cosine to zero, so there is nothing to choose on any image.
"""

import math
from collections.abc import Callable
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from grmp.finetune.types import SplitResult
from grmp.params import Fit

Network = TypeVar("Network", bound=nn.Module)
Inputs = Callable[[np.ndarray, int], Tensor]


def fresh(build: Callable[[], Network], generator: torch.Generator, device: torch.device) -> Network:
    """The module that ``build`` makes, its values drawn from ``generator`` and from no other.

    Matrices start as Glorot's, kernels as He's, scales of norms at one, biases at zero.
    """
    with torch.device("meta"):  # the constructors of torch.nn would draw from the global generator
        model = build()
    model.to_empty(device="cpu")
    with torch.no_grad():
        for name, t in model.named_parameters():
            if t.ndim == 1:
                t.fill_(1.0 if name.endswith("weight") else 0.0)
            elif t.ndim == 2:
                nn.init.xavier_uniform_(t, generator=generator)
            else:
                nn.init.kaiming_normal_(t, nonlinearity="relu", generator=generator)
    return model.to(device)


def learn(
    build: Callable[[], Network],
    inputs: Inputs,
    targets: np.ndarray,
    settings: Fit,
    seed: tuple[int, int],
    device: torch.device,
) -> tuple[Network, SplitResult]:
    """A fresh network, trained, and its history (one row per epoch) without scores, or a failure.

    Its ``head`` outputs the targets' mean for every input at first, so that few labels need not unlearn a random function.

    Parameters
    ----------
    inputs
        From positions into ``targets`` (B,) and the epoch's number to a batch that the network maps to (B,) scores.
    targets
        (N,) quality, or a teacher's scores.
    seed
        Of the start and of the order of the batches.
    """
    network = fresh(build, torch.Generator().manual_seed(1000 * seed[0] + seed[1]), device)
    on_device, head = torch.from_numpy(targets.astype(np.float32)).to(device), network.get_submodule("head")
    assert isinstance(head, nn.Linear)
    nn.init.zeros_(head.weight)
    nn.init.constant_(head.bias, float(on_device.mean()))
    optimizer = torch.optim.AdamW(network.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    rng, history = np.random.default_rng(seed), []
    for epoch in range(settings.epochs):
        rate = settings.learning_rate * (1 + math.cos(math.pi * epoch / settings.epochs)) / 2
        optimizer.param_groups[0]["lr"], total = rate, 0.0
        order = rng.permutation(len(targets))
        for number, members in enumerate(np.array_split(order, math.ceil(len(order) / settings.batch))):
            loss = F.smooth_l1_loss(network(inputs(members, epoch)), on_device[members])
            value = float(loss.detach())
            if not math.isfinite(value):
                place = f"epoch {epoch}, batch {number}, learning rate {rate:g}"
                return network, SplitResult(failure=f"loss is not finite at {place}")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += value * len(members) / len(targets)
        history.append({"epoch": epoch, "learning_rate": rate, "task_loss": total})
    return network, SplitResult(history=history, trained_values=sum(t.numel() for t in network.parameters()))
