"""A small CLIP that knows something of the simulated world: what a scene is called, and how good a picture looks.

Trained as CLIP is (Radford et al. 2021): pictures and captions are matched by a symmetric cross-entropy over cosine
similarities. The world has so few captions that a step can face its pictures with every caption of a wording; a caption
may be true of many pictures then, so that the targets are shares of truth and not a diagonal. Names, tokens and
architecture are open_clip's own.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from open_clip.model import CLIPTextCfg, CLIPVisionCfg
from scipy.stats import spearmanr
from torch import Tensor
from tqdm import tqdm

from grmp.clip.model import MEAN_STD
from grmp.data.simulated import databases as world
from grmp.data.simulated.distortions import KINDS, LEVELS, distort
from grmp.params import Architecture, ContrastiveTraining

SCENES = world.scenes_of("train")  # what the small CLIP is shown
VARIANTS = 4  # pictures made of one clean picture: itself and three distorted ones
HELDOUT = 240  # clean pictures of the held-out role; one distorted picture of each is measured
QUALITY_TEXTS = ("a photo with high quality.", "a photo with low quality.")
RESAMPLES = 1000

# Wordings of each kind of caption; a step takes one of each kind. Prompt learning puts its context where the X stand.
_WORDINGS = {
    "scene": ("a photo of a {scene}", "a picture of a {scene}", "an image of a {scene}", "{scene}"),
    "quality": (
        "a photo with {quality} quality.",
        "a {quality} quality photo.",
        "{quality} quality",
        "X X X X {quality} quality.",
    ),
    "both": ("a {quality} quality photo of a {scene}", "a photo of a {scene} with {quality} quality."),
    "word": ("a {word} photo.", "a {word} picture."),
}
_WEIGHTS = {"scene": 1.0, "quality": 3.0, "both": 1.0, "word": 0.5}
_QUALITIES = (("high", "low"), ("good", "bad"))
_WORDS = {  # what the distortion types are called, where people have a word for it
    "blurry": ("gaussian_blur", "lens_blur", "motion_blur"),
    "noisy": ("white_noise", "white_noise_in_color_component", "impulse_noise", "multiplicative_noise"),
    "compressed": ("jpeg", "jpeg2000"),
    "pixelated": ("pixelate",),
    "pale": ("color_saturation_1", "contrast_change"),
    "gaudy": ("color_saturation_2",),
    "bright": ("brighten",),
    "dark": ("darken",),
    "harsh": ("high_sharpen",),
}
_WORD_OF = {kind: word for word, kinds in _WORDS.items() for kind in kinds}


@dataclass(frozen=True)
class _Pictures:
    """N distorted pictures and what is true of them."""

    images: Tensor  # (N, 3, size, size) uint8
    opinion: np.ndarray  # (N,) simulated quality, 1 to 5
    scene: np.ndarray  # (N,) index into SCENES
    word: np.ndarray  # (N,) index into the words for distortions, -1 where there is none


@dataclass(frozen=True)
class _Wording:
    """The captions of one wording: C token rows, and how true each is of each of N pictures."""

    tokens: Tensor  # (C, length) int64
    truth: Tensor  # (N, C) float32, 0 to 1


def train(architecture: Architecture, training: ContrastiveTraining) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train the small CLIP; the same settings give the same bytes.

    Returns
    -------
    state : float32 tensors under their OpenAI/open_clip names
    measured : of pictures whose sources were never trained on (read once, here): ``heldout_srcc`` of the probability of
        "a photo with high quality." against simulated quality with its 95 % bootstrap interval, ``scene_accuracy`` of
        naming the scene; and time, speed and losses of the training.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(training.threads)
    try:
        started = time.perf_counter()
        pictures = _render("train", training.pictures, VARIANTS, training.seed)
        rendered = time.perf_counter() - started
        model, losses = _fit(pictures, architecture, training)
        trained = time.perf_counter() - started - rendered
        measured = _measure(model, _render("heldout", HELDOUT, 1, training.seed), training.seed)
    finally:
        torch.set_num_threads(before)
    measured |= {
        "training_pictures": len(pictures.opinion),
        "seconds_rendering": round(rendered, 1),
        "seconds_training": round(trained, 1),
        "seconds": round(time.perf_counter() - started, 1),
        "images_per_second": round(training.steps * training.batch / trained, 1),
        "final_loss": float(np.mean(losses[-20:])),
        "loss_history": [round(loss, 4) for loss in losses[:: max(1, len(losses) // 50)]],
    }
    return {name: t.detach().clone() for name, t in model.state_dict().items()}, measured


def _render(role: str, count: int, variants: int, seed: int) -> _Pictures:
    """``variants`` pictures of each clean one. With several, the first is the clean one itself."""
    words = list(_WORDS)
    images, opinion, scene, word = [], [], [], []
    clean = tqdm(world.contents(role, count), f"distort pictures ({role})", unit="picture", disable=None)
    for index, content in enumerate(clean):
        rng = np.random.default_rng([seed, world.BACKBONE_ROLES.index(role), index])
        for variant in range(variants):
            picture, said = content.picture, -1
            if variant or variants == 1:
                for kind in rng.choice(KINDS, rng.choice([1, 2], p=[0.75, 0.25]), replace=False):
                    picture = distort(picture, str(kind), int(rng.choice(LEVELS)), seed=int(rng.integers(2**31)))
                    said = words.index(_WORD_OF[kind]) if kind in _WORD_OF else said
            images.append(torch.from_numpy(picture).permute(2, 0, 1))
            opinion.append(world.quality(picture, content.picture))
            scene.append(SCENES.index(content.scene))
            word.append(said)
    return _Pictures(torch.stack(images), np.array(opinion), np.array(scene), np.array(word))


def _wordings(pictures: _Pictures) -> dict[str, list[_Wording]]:
    """Every caption of the small world by kind and wording, in a fixed order."""
    scene = F.one_hot(torch.from_numpy(pictures.scene), len(SCENES)).float()
    # A picture is of high quality to a degree: half at the median, nearly fully one scale step above.
    good = torch.from_numpy(2.5 * (pictures.opinion - np.median(pictures.opinion))).sigmoid()
    quality = torch.stack([good, 1 - good], 1).float()
    word = F.one_hot(torch.from_numpy(pictures.word) + 1, len(_WORDS) + 1)[:, 1:].float()
    truths = {
        "scene": scene,
        "quality": quality,
        "both": (scene[:, :, None] * quality[:, None]).flatten(1),
        "word": word,
    }
    made: dict[str, list[_Wording]] = {kind: [] for kind in _WORDINGS}
    for kind, templates in _WORDINGS.items():
        for template in templates:
            for pair in _QUALITIES if "{quality}" in template else _QUALITIES[:1]:
                choices = {"{scene}": SCENES, "{quality}": pair, "{word}": list(_WORDS)}
                texts = [template]
                for slot in ("{scene}", "{quality}", "{word}"):
                    if slot in template:
                        texts = [text.replace(slot, choice) for text in texts for choice in choices[slot]]
                made[kind].append(_Wording(open_clip.tokenize(texts), truths[kind]))
    return made


def _fit(
    pictures: _Pictures, architecture: Architecture, training: ContrastiveTraining
) -> tuple[open_clip.CLIP, list[float]]:
    """The trained model, in evaluation mode, and the loss of every step."""
    model = _build(architecture, training.seed)
    _start(model, pictures.images, training.seed)
    wordings = _wordings(pictures)
    # Only the rows of words that occur are trained: a table of these alone spares Adam the other 49 thousand. Sorted,
    # the end-of-text token stays the largest, by which open_clip finds it.
    table = model.token_embedding
    known = torch.cat([w.tokens.flatten() for group in wordings.values() for w in group]).unique()
    model.token_embedding = torch.nn.Embedding.from_pretrained(table.weight[known].detach().clone(), freeze=False)

    decayed = [p for p in model.parameters() if p.ndim >= 2 and p is not model.token_embedding.weight]
    others = [p for p in model.parameters() if p.ndim < 2 or p is model.token_embedding.weight]
    groups = [{"params": decayed, "weight_decay": 0.05}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=training.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.steps + 1, pct_start=0.1, cycle_momentum=False
    )
    rng = np.random.default_rng([training.seed, 1])
    losses = []
    for _ in tqdm(range(training.steps), "train the small CLIP", unit="step", disable=None):
        rows = torch.from_numpy(rng.choice(len(pictures.opinion), training.batch))
        chosen = {kind: group[int(rng.integers(len(group)))] for kind, group in wordings.items()}
        images = _pixels(_crop(pictures.images[rows], architecture.image_size, rng))
        tokens = torch.searchsorted(known, torch.cat([w.tokens for w in chosen.values()]))
        parts = _logits(model, images, tokens).split([len(w.tokens) for w in chosen.values()], 1)
        loss = torch.stack(
            [_WEIGHTS[k] * _symmetric(part, w.truth[rows]) for (k, w), part in zip(chosen.items(), parts, strict=True)]
        ).sum() / sum(_WEIGHTS.values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=np.log(100))  # as in CLIP, section 2.5
        losses.append(loss.item())
    with torch.no_grad():
        table.weight[known] = model.token_embedding.weight
    model.token_embedding = table
    return model.eval(), losses


def _build(architecture: Architecture, seed: int) -> open_clip.CLIP:
    """open_clip's model with its own initialisation, from a generator that is put back."""
    a = architecture
    vision = CLIPVisionCfg(
        layers=a.vision_layers, width=a.vision_width, patch_size=a.patch_size, image_size=a.image_size, head_width=64
    )
    text = CLIPTextCfg(width=a.text_width, heads=a.text_width // 64, layers=a.text_layers)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return open_clip.CLIP(a.embed_dim, vision, text, quick_gelu=True)


@torch.no_grad()
def _start(model: open_clip.CLIP, images: Tensor, seed: int) -> None:
    """Start the first layers where noise and blur can be seen, which random ones find only after long training.

    The patch embedding starts as principal components of the pictures' patches, each scaled to unit variance: random
    filters see little but brightness, which has nearly all the variance of pictures, while fine detail has hardly any.
    Half of the filters are the first components, half are spread over all others (such data-dependent starts:
    Kraehenbuehl, Doersch, Donahue and Darrell 2016). The MLP of the first block starts as each filter's absolute
    value, because its mean over patches is how much of that detail there is. Both are trained on like all others.
    """
    weight = model.visual.conv1.weight
    width, _, side, _ = weight.shape
    rng = np.random.default_rng([seed, 3])
    chosen = images[torch.from_numpy(rng.choice(len(images), min(len(images), 500), replace=False))]
    patches = F.unfold(_pixels(_crop(chosen, model.visual.image_size[0])), side, stride=side)
    patches = patches.transpose(1, 2).flatten(0, 1).double()
    variances, components = torch.linalg.eigh(torch.cov(patches.T))
    first, rest = width // 2, width - width // 2
    ranks = np.r_[:first, np.linspace(first, len(variances) - 1, rest).astype(int)]
    order = torch.from_numpy(len(variances) - 1 - ranks)
    filters = components[:, order] / (variances[order] + 1e-3 * variances.mean()).sqrt()
    weight.copy_(filters.T.reshape(weight.shape))
    mlp, eye = model.visual.transformer.resblocks[0].mlp, torch.eye(width)
    mlp.c_fc.weight[: 2 * width] = torch.cat([eye, -eye]) * 1.5
    mlp.c_proj.weight[:, : 2 * width] = torch.cat([eye, eye], 1) * 0.3


def _symmetric(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean cross-entropy over pictures and over captions; whoever matches nothing is left out."""
    total = logits.new_zeros(())
    for one, share in ((logits, truth), (logits.T, truth.T)):
        some = share.sum(1) > 0
        if some.any():
            total = total + F.cross_entropy(one[some], share[some] / share[some].sum(1, keepdim=True)) / 2
    return total


def _logits(model: open_clip.CLIP, images: Tensor, tokens: Tensor) -> Tensor:
    """(B, C) similarities times the logit scale."""
    image, text = model.encode_image(images, normalize=True), _encode_text(model, tokens)
    return model.logit_scale.exp() * image @ text.T


def _encode_text(model: open_clip.CLIP, tokens: Tensor) -> Tensor:
    """open_clip's encode_text without the padding behind the longest caption, which causal attention never reads."""
    ends = tokens.argmax(-1)
    length = int(ends.max()) + 1
    x = model.token_embedding(tokens[:, :length]) + model.positional_embedding[:length]
    x = model.ln_final(model.transformer(x, attn_mask=model.attn_mask[:length, :length]))
    return F.normalize(x[torch.arange(len(x)), ends] @ model.text_projection, dim=-1)


def _crop(images: Tensor, size: int, rng: np.random.Generator | None = None) -> Tensor:
    """A crop of each picture, (B, 3, size, size): at random and flipped half the time, or the middle one."""
    spare = images.shape[-1] - size
    if rng is None:
        return images[..., spare // 2 : spare // 2 + size, spare // 2 : spare // 2 + size]
    corners, flips = rng.integers(0, spare + 1, (len(images), 2)), rng.random(len(images)) < 0.5
    crops = [image[:, y : y + size, x : x + size] for image, (y, x) in zip(images, corners, strict=True)]
    return torch.stack([c.flip(-1) if flip else c for c, flip in zip(crops, flips, strict=True)])


def _pixels(images: Tensor) -> Tensor:
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in MEAN_STD["clip"])
    return (images.float() / 255 - mean) / std


@torch.no_grad()
def _measure(model: open_clip.CLIP, pictures: _Pictures, seed: int) -> dict[str, Any]:
    """Zero-shot quality and scene naming, by the middle crop of each picture."""
    size = model.visual.image_size[0]
    tokens = open_clip.tokenize([*QUALITY_TEXTS, *(f"a photo of a {name}" for name in SCENES)])
    batches = [_logits(model, _pixels(_crop(part, size)), tokens) for part in pictures.images.split(64)]
    logits = torch.cat(batches).double().numpy()
    score = logits[:, 0] - logits[:, 1]  # the log-odds of high quality: the same ranks as its probability
    rng = np.random.default_rng([seed, 2])
    draws = rng.integers(0, len(score), (RESAMPLES, len(score)))
    resampled = [spearmanr(score[d], pictures.opinion[d]).statistic for d in draws]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return {
        "heldout_pictures": len(score),
        "heldout_srcc": float(spearmanr(score, pictures.opinion).statistic),
        "heldout_srcc_low": float(low),
        "heldout_srcc_high": float(high),
        "scene_accuracy": float((logits[:, 2:].argmax(1) == pictures.scene).mean()),
        "chance": 1 / len(SCENES),
    }
