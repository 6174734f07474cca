"""The default scorer, from `small-rated` and BIQ2021's training ratings.

The log-odds of `small-rated`'s quality texts plus two linear layers on the mean and the standard deviation of the stem's
channels, which are trained here on the same 9,000 photographs. The three numbers that join both parts, and the errors that
intervals need, come from the 1,000 photographs that were held out.
"""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import pearsonr, spearmanr
from torch import Tensor
from tqdm import tqdm

from grmp.clip import model as clip
from grmp.clip import shipped, stem
from grmp.clip.model import Tensors
from grmp.finetune import trust
from grmp.finetune.scorer import HEAD, TEXT
from small import packing
from small.photographs import SIDE, VERSIONS
from small.train import SHAPE, Data, Trainer, correlation_loss, embed, export, ranking_loss


@dataclass(frozen=True)
class Settings:
    """How the second head is trained."""

    hidden: int = 512
    epochs: int = 20
    batch: int = 128  # photographs of a step
    groups: int = 16  # photographs of a step with all their versions
    rate: float = 1e-3
    weight_decay: float = 1.0
    drop_input: float = 0.2
    drop_hidden: float = 0.5
    w_order: float = 1.0
    w_rank: float = 0.2
    seed: int = 0


SETTINGS = Settings()


def pooled(features: np.ndarray) -> Tensor:
    """(N, 49, 896) -> (N, 1792), as the scorer pools them."""
    parts = [features[i : i + 500] for i in range(0, len(features), 500)]
    return torch.cat([stem.pooled(torch.from_numpy(part.astype(np.float32)).mT) for part in parts])


def head(p: Tensors, x: Tensor, drop: float = 0.0) -> Tensor:
    """(B, 1792) -> (B,) log-odds."""
    hidden = F.gelu(F.linear(x, p["0.weight"], p["0.bias"]))
    return F.linear(F.dropout(hidden, drop), p["1.weight"], p["1.bias"])[:, 0]


def train_head(data: Data, rows: np.ndarray, groups: np.ndarray, s: Settings = SETTINGS) -> Tensors:
    """The second head, trained on the photographs ``rows`` of all views and on the versions of ``groups``."""
    rng, generator = np.random.default_rng(s.seed), torch.Generator().manual_seed(s.seed)
    torch.manual_seed(s.seed)
    views = [pooled(view) for view in data.views]
    mean, deviation = views[0].mean(0), views[0].std(0) + 1e-4
    views = [(view - mean) / deviation for view in views]
    versions = (pooled(data.versions[: data.groups].reshape(-1, *data.versions.shape[2:])) - mean) / deviation
    versions, levels = versions.unflatten(0, (-1, VERSIONS)), torch.from_numpy(data.levels.astype(np.float32))
    width = len(mean)
    p = {
        "0.weight": torch.randn((s.hidden, width), generator=generator) * width**-0.5,
        "0.bias": torch.zeros(s.hidden),
        "1.weight": torch.zeros((1, s.hidden)),
        "1.bias": torch.zeros(1),
    }
    p = {n: t.requires_grad_() for n, t in p.items()}
    optimizer = torch.optim.AdamW(
        [
            {"params": [t for n, t in p.items() if (t.ndim == 2) == decayed], "weight_decay": decay}
            for decayed, decay in ((True, s.weight_decay), (False, 0.0))
        ]
    )
    steps = max(1, len(rows) // s.batch)
    total = steps * s.epochs
    for step in tqdm(range(total), "photo", unit="step", mininterval=10):
        if step % steps == 0:
            order = rng.permutation(rows)
        for group in optimizer.param_groups:
            group["lr"] = s.rate * min(1, (step + 1) / steps) * 0.5 * (1 + math.cos(math.pi * step / total))
        some = torch.from_numpy(order[step % steps * s.batch :][: s.batch])
        chosen = torch.from_numpy(rng.choice(groups, min(s.groups, len(groups)), replace=False))
        x = torch.cat([views[rng.integers(len(views))][some], versions[chosen].flatten(0, 1)])
        score = head(p, F.dropout(x, s.drop_input), s.drop_hidden)
        target, rated = data.mos[some], score[: len(some)]
        loss = F.binary_cross_entropy_with_logits(rated, target) + s.w_order * correlation_loss(rated, target)
        loss = loss + s.w_rank * ranking_loss(score[len(some) :].unflatten(0, (-1, VERSIONS)), levels[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    p = {n: t.detach() for n, t in p.items()}
    weight = p["0.weight"] / deviation  # the standardisation goes into the first layer
    return p | {"0.weight": weight, "0.bias": p["0.bias"] - weight @ mean}


@torch.no_grad()
def make(trainer: Trainer, second: Tensors, stem_tensors: Tensors) -> tuple[Tensors, dict[str, Any]]:
    """Tensors and card of the scorer, from a trained `small-rated` and the second head."""
    data, p, out = trainer.data, trainer.average, trainer.out
    quality = trainer.captions.rows(trainer.captions.quality)
    text = clip.PromptedCLIP(p, SHAPE).text(quality).unflatten(0, (-1, 2)).mean(0)
    everything = np.array_split(np.arange(data.count), max(1, data.count // 50))
    both = torch.cat(
        [clip.PromptedCLIP(p, SHAPE).logits(embed(p, data, data.clean(0, part)), text) for part in everything]
    )
    odds = torch.stack([both[:, 0] - both[:, 1], head(second, pooled(data.views[0]))], dim=1)
    a, b, shift = join(odds[out], data.mos[out])
    score = (odds @ torch.tensor([a, b]) + shift).sigmoid().numpy()
    mos = data.mos.numpy()
    found = {
        "srcc": float(spearmanr(score[out], mos[out]).statistic),
        "plcc": float(pearsonr(score[out], mos[out]).statistic),
        "parts": [float(spearmanr(odds[out, i], mos[out]).statistic) for i in (0, 1)],
        "weights": [a, b, shift],
    }
    card = {
        "config": vars(SHAPE),
        "size": SIDE,
        "aspect": "squash",
        "scale": {"low": 0.0, "high": 1.0, "higher_better": True},
        "trained on": "BIQ2021, 9,000 photographs of the official training part",
        "held out": found,
        **trust.measure(mos[out].astype(float), score[out].astype(float), "1,000 photographs of BIQ2021"),
    }
    tower = export(trainer.state(), stem_tensors)
    tensors = {n: t for n, t in tower.items() if n.startswith("visual.")}
    tensors |= {TEXT: text * a, "logit_scale": tower["logit_scale"]}
    last = {"1.weight": second["1.weight"] * b, "1.bias": second["1.bias"] * b + shift}
    return tensors | {HEAD + n: t for n, t in (second | last).items()}, card


def join(odds: Tensor, mos: Tensor) -> list[float]:
    """(N, 2) log-odds -> weights of both and a shift, by cross-entropy against MOS (Newton's method)."""
    x, w = torch.cat([odds, torch.ones(len(odds), 1)], dim=1).double(), torch.zeros(3, dtype=torch.float64)
    for _ in range(20):
        q = (x @ w).sigmoid()
        w = w - torch.linalg.solve((x * (q * (1 - q))[:, None]).T @ x + 1e-6 * torch.eye(3), x.T @ (q - mos))
    return w.tolist()


def build(trainer: Trainer, stem_tensors: Tensors, into: Path) -> dict[str, Any]:
    """Train the second head and write the scorer; returns its card."""
    tensors, card = make(trainer, train_head(trainer.data, trainer.rows, trainer.groups), stem_tensors)
    packing.write(shipped.SCORER, tensors, card, into)
    return card
