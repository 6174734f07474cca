"""Train a small CLIP on the features of `small.features`: `python -m small.train small-rated --cache FOLDER`.

    small         no human rating: content from EfficientNet-Lite0's ImageNet classes, quality from the order of distorted
                  versions of a photograph (as QualiCLIP, Agnolucci et al., arXiv 2403.11176, along antonym prompts)
    small-rated   the same, and quality also from the MOS of 9,000 of BIQ2021's 10,000 training photographs

Images and captions are matched as in CLIP (Radford et al. 2021) by cross-entropy over scaled cosines; a caption can be
true of many images, so that targets are soft. A step reads a batch of photographs and all versions of a few others.
Training is resumed from the last epoch; the same seed gives the same bytes on one machine.
"""

import argparse
import json
import math
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.stats import spearmanr
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from tqdm import tqdm

from grmp.clip import model as clip
from grmp.clip import stem
from grmp.clip.model import Shape, Tensors
from grmp.finetune.scorer import TEXTS
from small import captions as texts
from small.photographs import KINDS, VERSIONS, biq2021, held_out

SHAPE = Shape(
    embed_dim=128,
    image_size=224,
    patch_size=32,
    vision_width=192,
    vision_layers=4,
    vision_heads=3,
    text_width=128,
    text_layers=2,
    text_heads=2,
    quick_gelu=True,
    stem="lite0",
)


@dataclass(frozen=True)
class Settings:
    """How a model is trained."""

    rated: bool
    epochs: int = 10
    batch: int = 64  # photographs of a step
    groups: int = 5  # photographs of a step with all their versions
    kept_tokens: int = 28  # of 49: the others are dropped at random (Li et al. 2023, FLIP); all in the last epochs
    full_epochs: int = 1
    drop_pooled: float = 0.2
    rate: float = 1e-3
    weight_decay: float = 0.05
    average: float = 0.998  # of the weights over the steps
    scale: float = 20.0  # largest logit scale
    w_nouns: float = 0.3
    w_scenes: float = 0.3
    w_quality: float = 2.0
    w_rank: float = 0.5
    w_words: float = 0.3
    seed: int = 0


PRESETS = {
    "small": Settings(
        rated=False,
        epochs=2,
        batch=32,
        groups=8,
        drop_pooled=0.5,
        rate=5e-4,
        weight_decay=1.0,
        w_rank=4.0,
        w_words=0.05,
    ),
    "small-rated": Settings(rated=True, epochs=8, groups=2, drop_pooled=0.3, weight_decay=0.5),
}


class Data:
    """The cached features of BIQ2021's training part."""

    def __init__(self, cache: Path, folder: Path) -> None:  # noqa: D107
        self.views = [
            np.load(cache / f"clean{v}.npy", mmap_mode="r") for v in range(9) if _complete(cache, f"clean{v}")
        ]
        self.teacher = torch.from_numpy(np.load(cache / "teacher.npy").astype(np.float32))
        self.count = len(self.teacher)
        self.mos = torch.tensor(biq2021(folder, "train").mos, dtype=torch.float32)
        done = cache / "versions.done"
        self.groups = int(done.read_text()) if done.exists() else 0
        if self.groups:
            self.versions = np.load(cache / "versions.npy", mmap_mode="r")
            self.levels = np.load(cache / "levels.npy")[: self.groups]
        sample = np.random.default_rng(0).choice(self.count, min(self.count, 400), replace=False)
        some = self.clean(0, np.sort(sample)).flatten(0, 1)
        self.mean, self.deviation = some.mean(0), some.std(0) + 1e-3
        pooled = stem.pooled(some.unflatten(0, (-1, 49)).mT)
        self.pooled_mean, self.pooled_deviation = pooled.mean(0), pooled.std(0) + 1e-3

    def clean(self, view: int, rows: np.ndarray) -> Tensor:
        """(B, 49, 896) float32."""
        return torch.from_numpy(self.views[view][rows].astype(np.float32))

    def distorted(self, groups: np.ndarray) -> Tensor:
        """(G * 7, 49, 896) float32."""
        return torch.from_numpy(self.versions[groups].astype(np.float32)).flatten(0, 1)


def _complete(cache: Path, name: str) -> bool:
    path = cache / f"{name}.npy"
    receipt = path.with_suffix(".done")
    return receipt.exists() and int(receipt.read_text()) == np.load(path, mmap_mode="r").shape[0]


def initial(shape: Shape, vocabulary: int, generator: torch.Generator) -> Tensors:
    """Fresh weights, initialised as CLIP's; the token embedding has the known tokens only."""

    def normal(*size: int, std: float) -> Tensor:
        return torch.randn(size, generator=generator) * std

    d, t = shape.vision_width, shape.text_width
    tokens = (shape.image_size // shape.patch_size) ** 2
    p = {
        "visual.conv1.weight": normal(d, stem.CHANNELS, 1, 1, std=stem.CHANNELS**-0.5),
        stem.POOLED: normal(d, 2 * stem.CHANNELS, std=(2 * stem.CHANNELS) ** -0.5),
        "visual.class_embedding": normal(d, std=d**-0.5),
        "visual.positional_embedding": normal(tokens + 1, d, std=d**-0.5),
        "visual.proj": normal(d, shape.embed_dim, std=d**-0.5),
        "token_embedding.weight": normal(vocabulary, t, std=0.02),
        "positional_embedding": normal(77, t, std=0.01),
        "text_projection": normal(t, shape.embed_dim, std=t**-0.5),
        "logit_scale": torch.tensor(math.log(10.0)),
    }
    for tower, width, layers in (("visual.", d, shape.vision_layers), ("", t, shape.text_layers)):
        for i in range(layers):
            name, std = f"{tower}transformer.resblocks.{i}", width**-0.5
            p[f"{name}.attn.in_proj_weight"] = normal(3 * width, width, std=std)
            p[f"{name}.attn.in_proj_bias"] = torch.zeros(3 * width)
            p[f"{name}.attn.out_proj.weight"] = normal(width, width, std=std * (2 * layers) ** -0.5)
            p[f"{name}.attn.out_proj.bias"] = torch.zeros(width)
            p[f"{name}.mlp.c_fc.weight"] = normal(4 * width, width, std=(2 * width) ** -0.5)
            p[f"{name}.mlp.c_fc.bias"] = torch.zeros(4 * width)
            p[f"{name}.mlp.c_proj.weight"] = normal(width, 4 * width, std=std * (2 * layers) ** -0.5)
            p[f"{name}.mlp.c_proj.bias"] = torch.zeros(width)
            for ln in ("ln_1", "ln_2"):
                p |= {f"{name}.{ln}.weight": torch.ones(width), f"{name}.{ln}.bias": torch.zeros(width)}
    for ln, width in (("visual.ln_pre", d), ("visual.ln_post", d), ("ln_final", t)):
        p |= {f"{ln}.weight": torch.ones(width), f"{ln}.bias": torch.zeros(width)}
    return p


def embed(p: Tensors, data: Data, features: Tensor, kept: Tensor | None = None, drop: float = 0.0) -> Tensor:
    """(B, 49, 896) features -> (B, E).

    ``kept`` are the positions of the tokens that are not dropped, ``drop`` is the share of the pooled features that are.
    """
    x, pooled = (features - data.mean) / data.deviation, stem.pooled(features.mT)
    pooled = F.dropout((pooled - data.pooled_mean) / data.pooled_deviation, drop)
    positions = p["visual.positional_embedding"]
    if kept is not None:
        x, positions = x[:, kept], torch.cat([positions[:1], positions[1 + kept]])
    x = F.linear(x, p["visual.conv1.weight"].flatten(1))
    first = p["visual.class_embedding"] + F.linear(pooled, p[stem.POOLED])
    x = torch.cat([first[:, None], x], dim=1) + positions
    x = F.layer_norm(x, x.shape[-1:], p["visual.ln_pre.weight"], p["visual.ln_pre.bias"])
    return clip.pool_image(p, clip.image_blocks(p, x, SHAPE, 0, SHAPE.vision_layers))


def soft_cross_entropy(logits: Tensor, truth: Tensor) -> Tensor:
    """Symmetric: over captions, and over images weighted by how much of a caption the batch shows. Both (B, C)."""
    forward = -(truth * F.log_softmax(logits, 1)).sum(1).mean()
    share = truth.sum(0)
    backward = -(truth * F.log_softmax(logits, 0)).sum(0)
    return forward + 0.5 * (backward.sum() / share.sum())


def ranking_loss(score: Tensor, levels: Tensor) -> Tensor:
    """Logistic loss over pairs of versions of one photograph whose order is known; (G, 7) and (G, 7, 8).

    One version is better than another if it has no kind of distortion at a higher level, or is two levels lighter in sum.
    """
    a, b = levels[:, :, None], levels[:, None]
    total = b.sum(-1) - a.sum(-1)
    better = (((a <= b).all(-1)) & (total > 0)) | (total >= 2)
    difference = (score[:, :, None] - score[:, None])[better]
    return F.softplus(-difference).mean()


def correlation_loss(score: Tensor, target: Tensor) -> Tensor:
    """1 - Pearson's correlation; both (B,)."""
    a, b = score - score.mean(), target - target.mean()
    return 1 - (a * b).sum() / (a.norm() * b.norm() + 1e-6)


class Trainer:
    """One training, from the first epoch or the last saved one."""

    def __init__(self, name: str, settings: Settings, data: Data, folder: Path) -> None:  # noqa: D107
        self.settings, self.data, self.path = settings, data, folder / f"{name}.pt"
        self.captions = texts.captions()
        generator = torch.Generator().manual_seed(settings.seed)
        self.p = {n: t.requires_grad_() for n, t in initial(SHAPE, len(self.captions.known), generator).items()}
        self.average = {n: t.detach().clone() for n, t in self.p.items()}
        plain = [t for n, t in self.p.items() if t.ndim < 2 or "embedding" in n]
        decayed = [t for n, t in self.p.items() if not (t.ndim < 2 or "embedding" in n)]
        self.optimizer = torch.optim.AdamW(
            [{"params": decayed, "weight_decay": settings.weight_decay}, {"params": plain, "weight_decay": 0.0}],
            lr=settings.rate,
            betas=(0.9, 0.98),
        )
        out = held_out(data.count)
        self.rows, self.out = np.flatnonzero(~out), np.flatnonzero(out)
        self.groups = np.flatnonzero(~out[: data.groups])
        self.groups_out = np.flatnonzero(out[: data.groups])
        self.steps = len(self.rows) // settings.batch
        self.epoch, self.history, self.seconds = 0, [], 0.0
        if self.path.exists():
            saved = torch.load(self.path, weights_only=False)
            if saved["settings"] != asdict(settings):
                raise SystemExit(f"error: {self.path} was trained with other settings; delete it to start again")
            with torch.no_grad():
                for n, t in self.p.items():
                    t.copy_(saved["p"][n])
            self.average, self.epoch, self.history = saved["average"], saved["epoch"], saved["history"]
            self.seconds = saved["seconds"]
            self.optimizer.load_state_dict(saved["optimizer"])

    def state(self) -> dict[str, Any]:
        """Everything that resuming and packing need."""
        return {
            "p": {n: t.detach() for n, t in self.p.items()},
            "average": self.average,
            "optimizer": self.optimizer.state_dict(),
            "epoch": self.epoch,
            "history": self.history,
            "seconds": self.seconds,
            "settings": asdict(self.settings),
            "mean": self.data.mean,
            "deviation": self.data.deviation,
            "pooled_mean": self.data.pooled_mean,
            "pooled_deviation": self.data.pooled_deviation,
        }

    def save(self) -> None:
        """Write the checkpoint whole."""
        torch.save(self.state(), self.path.with_suffix(".partial"))
        self.path.with_suffix(".partial").replace(self.path)

    def run(self) -> None:
        """All epochs that are left."""
        for epoch in range(self.epoch, self.settings.epochs):
            started = time.perf_counter()
            losses = self._epoch(epoch)
            self.seconds += time.perf_counter() - started
            self.epoch = epoch + 1
            self.history.append({"epoch": self.epoch, **losses, **self.measure(self.average)})
            print(json.dumps({k: round(v, 4) for k, v in self.history[-1].items()}), flush=True)
            self.save()

    def _rate(self, step: int) -> float:
        total, warm = self.steps * self.settings.epochs, self.steps // 2
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / (total - warm))) + 1e-3

    def _epoch(self, epoch: int) -> dict[str, float]:
        s, rng = self.settings, np.random.default_rng([self.settings.seed, epoch])
        torch.manual_seed(1000 * s.seed + epoch)  # of dropout
        order, sums = rng.permutation(self.rows), {}
        full = epoch >= s.epochs - s.full_epochs
        for step in tqdm(range(self.steps), f"epoch {epoch + 1} of {s.epochs}", unit="step", mininterval=10):
            for group in self.optimizer.param_groups:
                group["lr"] = s.rate * self._rate(epoch * self.steps + step)
            rows = np.sort(order[step * s.batch : (step + 1) * s.batch])
            parts = self._losses(rows, rng, full)
            loss = torch.stack(list(parts.values())).sum()
            self.optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(list(self.p.values()), 1.0)
            self.optimizer.step()
            with torch.no_grad():
                self.p["logit_scale"].clamp_(max=math.log(s.scale))
                # the average starts as a plain mean
                share = max(1 - s.average, 1 / (1 + epoch * self.steps + step))
                torch._foreach_lerp_(list(self.average.values()), [t.detach() for t in self.p.values()], share)
            for key, value in parts.items():
                sums[key] = sums.get(key, 0.0) + float(value.detach()) / self.steps
        return sums

    def _losses(self, rows: np.ndarray, rng: np.random.Generator, full: bool) -> dict[str, Tensor]:
        s, data, c, p = self.settings, self.data, self.captions, self.p
        features, groups = data.clean(int(rng.integers(len(data.views))), rows), np.array([], int)
        if len(self.groups):
            groups = np.sort(rng.choice(self.groups, s.groups, replace=False))
            features = torch.cat([features, data.distorted(groups)])
        kept = None if full else torch.from_numpy(np.sort(rng.permutation(49)[: s.kept_tokens]))
        nouns, scenes = (wordings[rng.integers(len(wordings))] for wordings in (c.nouns, c.scenes))
        words = c.distortions[rng.integers(len(c.distortions))]
        teacher = data.teacher[rows]
        chosen = torch.cat([teacher.topk(2).indices.flatten(), torch.from_numpy(rng.choice(1000, 32))]).unique()
        context = torch.from_numpy(rng.standard_normal((4, SHAPE.text_width)).astype(np.float32)) * 0.02
        # the plain attention is the faster one for 50 tokens on a CPU
        with torch.autocast("cpu", torch.bfloat16, enabled=FAST), sdpa_kernel(SDPBackend.MATH):
            image = embed(p, data, features, kept, s.drop_pooled)
            together = torch.cat([nouns[chosen], scenes, words, c.quality])
            text = clip.PromptedCLIP(p, SHAPE).text(c.rows(together))
            drawn = clip.PromptedCLIP(p, SHAPE).text(c.rows(c.quality[6:8]), context)
        text = torch.cat([text, drawn])
        logits = p["logit_scale"].exp() * image.float() @ text.float().T
        a, b = len(chosen), len(chosen) + len(scenes)
        of_words, of_quality = logits[:, b : b + len(words)], logits[:, b + len(words) :]
        score = of_quality[:, ::2] - of_quality[:, 1::2]  # (B, pairs) log-odds of the better text
        n = len(rows)
        parts = {
            "nouns": s.w_nouns * soft_cross_entropy(logits[:n, :a], teacher[:, chosen].softmax(1)),
            "scenes": s.w_scenes * soft_cross_entropy(logits[:n, a:b], texts.scene_truth(teacher.softmax(1))),
        }
        if len(groups):
            levels = torch.from_numpy(data.levels[groups].astype(np.float32))
            by_group = score[n:].unflatten(0, (-1, VERSIONS))
            parts["rank"] = s.w_rank * torch.stack([ranking_loss(one, levels) for one in by_group.unbind(-1)]).mean()
            truth = texts.distortion_truth(data.levels[groups].reshape(-1, len(KINDS)))
            parts["words"] = s.w_words * soft_cross_entropy(of_words[n:], truth)
        if s.rated:
            target = data.mos[rows][:, None].expand(-1, score.shape[1])
            entropy = F.binary_cross_entropy_with_logits(score[:n], target)
            order = torch.stack([correlation_loss(one, data.mos[rows]) for one in score[:n].unbind(1)]).mean()
            parts["quality"] = s.w_quality * (entropy + order)
        else:  # nothing says where the middle is
            parts["centre"] = 0.01 * score.mean(0).square().mean()
        return parts

    @torch.no_grad()
    def measure(self, p: Tensors) -> dict[str, float]:
        """On held-out photographs: zero-shot SRCC by two wordings, and the share of version pairs in the right order."""
        tokens = self.captions.rows(clip.tokenize([*TEXTS, *clip.prompted_texts(texts._PAIRS[0], 4)]))
        model = clip.PromptedCLIP(p, SHAPE)
        text = model.text(tokens)
        images = torch.cat(
            [embed(p, self.data, self.data.clean(0, part)) for part in np.array_split(self.out, min(16, len(self.out)))]
        )
        logits, mos = model.logits(images, text), self.data.mos[self.out]
        out = {
            "srcc": spearmanr(logits[:, 0] - logits[:, 1], mos).statistic,
            "srcc_prompted": spearmanr(logits[:, 2] - logits[:, 3], mos).statistic,
            "logit_sd": float((logits[:, 0] - logits[:, 1]).std()),
            "probability": float((logits[:, 0] - logits[:, 1]).sigmoid().mean()),
            "scale": float(p["logit_scale"].exp()),
        }
        if len(self.groups_out):
            some = self.groups_out[:60]
            of = model.logits(embed(p, self.data, self.data.distorted(some)), text)
            score, total = (of[:, 0] - of[:, 1]).view(-1, VERSIONS), self.data.levels[some].sum(-1)
            above = score[:, :, None] > score[:, None]
            wanted = torch.from_numpy(total[:, None] - total[:, :, None] > 0)
            out["pairs"] = float(above[wanted].float().mean())
        return {k: float(v) for k, v in out.items()}


FAST = torch.ops.mkldnn._is_mkldnn_bf16_supported()


def export(state: dict[str, Any], stem_tensors: Tensors) -> Tensors:
    """The averaged weights as a CLIP of this project, except that the token embedding has the known tokens only.

    The standardisation of the features goes into the patch embedding and the positions behind it.
    """
    p = {n: t.clone() for n, t in state["average"].items()}
    weight = p["visual.conv1.weight"].flatten(1) / state["deviation"]
    p["visual.positional_embedding"][1:] -= weight @ state["mean"]
    p["visual.conv1.weight"] = weight[:, :, None, None]
    p[stem.POOLED] = p[stem.POOLED] / state["pooled_deviation"]
    p["visual.positional_embedding"][0] -= p[stem.POOLED] @ state["pooled_mean"]
    return p | stem_tensors


def main() -> None:
    """Train one of the small CLIPs."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", choices=PRESETS)
    parser.add_argument("--from", dest="folder", type=Path, required=True, help="folder of BIQ2021")
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder of the features; checkpoints are written there"
    )
    parser.add_argument("--name", help="of the checkpoint [default: the model's]")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="other settings than the model's own")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads [default: 2]")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    changes = {k: json.loads(v) for k, v in (pair.split("=") for pair in given.set)}
    settings = Settings(**asdict(PRESETS[given.model]) | changes)
    print(f"{given.model}: {settings}, process {os.getpid()}", flush=True)
    Trainer(given.name or given.model, settings, Data(given.cache, given.folder), given.cache).run()


if __name__ == "__main__":
    main()
