"""A small CLIP that knows something of the simulated world: what a scene is called, and how good a picture looks.

Trained as CLIP is (Radford et al. 2021): matching pictures with captions inside a batch, by a symmetric cross-entropy
over cosine similarities. The world has few captions, so that a batch holds several that are true of one picture; all of
them are its positives, in equal shares. Names, tokens and architecture are open_clip's own.
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

from grmp.clip import MEAN_STD
from grmp.databases import world
from grmp.databases.scenes import RENDERERS
from grmp.distortions import KINDS, LEVELS, distort
from grmp.params import Architecture, ContrastiveTraining

VARIANTS = 4  # pictures made of one clean picture: itself and three distorted ones
HELDOUT = 240  # clean pictures of the held-out role; one distorted picture of each is measured
QUALITY_TEXTS = ("a photo with high quality.", "a photo with low quality.")
RESAMPLES = 1000

_QUALITIES = {"high": ("high", "good"), "medium": ("medium", "fair"), "low": ("low", "bad")}
_LOW, _HIGH = 2.8, 3.7  # between them, on the scale from 1 to 5, quality is called medium
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
    """Distorted pictures and what is true of them; scene, quality and word are indices, word -1 where there is none."""

    images: Tensor  # (N, 3, size, size) uint8
    opinion: np.ndarray  # (N,) simulated quality, 1 to 5
    scene: np.ndarray
    quality: np.ndarray
    word: np.ndarray


@dataclass(frozen=True)
class _Caption:
    """A text and what it claims: scene, quality and word, -1 where it says nothing of them."""

    text: str
    claims: tuple[int, int, int]


def train(
    architecture: Architecture, training: ContrastiveTraining, threads: int
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Train the small CLIP; the same settings and threads give the same bytes.

    Returns
    -------
    state : float32 tensors under their OpenAI/open_clip names
    measured : of pictures whose sources were never trained on (read once, here): ``heldout_srcc`` of the probability of
        "a photo with high quality." against simulated quality with its 95 % bootstrap interval, ``scene_accuracy`` of
        naming the scene; and time, speed and losses of the training.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
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


def scenes() -> list[str]:
    """Names of the scenes that the small CLIP was shown, sorted."""
    return sorted({c.scene for c in world.contents("train", len(RENDERERS) + 6)})


def _render(role: str, count: int, variants: int, seed: int) -> _Pictures:
    """``variants`` pictures of each clean one. With several, the first is the clean one itself."""
    names = scenes()
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
            scene.append(names.index(content.scene))
            word.append(said)
    opinions = np.array(opinion)
    grades = np.where(opinions >= _HIGH, 0, np.where(opinions >= _LOW, 1, 2))
    return _Pictures(torch.stack(images), opinions, np.array(scene), grades, np.array(word))


def _captions() -> list[_Caption]:
    """Every caption of the small world, in a fixed order."""
    made = []
    for s, scene in enumerate(scenes()):
        made += [_Caption(f"{a} of a {scene}", (s, -1, -1)) for a in ("a photo", "a picture", "an image")]
        for q, words in enumerate(_QUALITIES.values()):
            made += [_Caption(f"a {w} quality photo of a {scene}", (s, q, -1)) for w in words]
            made += [_Caption(f"a photo of a {scene} with {w} quality.", (s, q, -1)) for w in words]
        made += [_Caption(f"a {word} photo of a {scene}", (s, -1, w)) for w, word in enumerate(_WORDS)]
    for q, words in enumerate(_QUALITIES.values()):
        for w in words:
            made += [_Caption(text, (-1, q, -1)) for text in (f"a photo with {w} quality.", f"a {w} quality photo.")]
            made += [_Caption(text, (-1, q, -1)) for text in (f"{w} quality", f"{w} photo.")]
    made += [_Caption(f"a {word} photo.", (-1, -1, w)) for w, word in enumerate(_WORDS)]
    return made


def _fit(
    pictures: _Pictures, architecture: Architecture, training: ContrastiveTraining
) -> tuple[open_clip.CLIP, list[float]]:
    """The trained model, in evaluation mode, and the loss of every step."""
    model = _build(architecture, training.seed)
    captions = _captions()
    tokens = open_clip.tokenize([c.text for c in captions])
    table = model.token_embedding
    # Only the rows of words that occur are trained: a table of these alone spares Adam the other 49 thousand. Sorted,
    # the end-of-text token stays the largest, by which open_clip finds it.
    known, tokens = tokens.unique(return_inverse=True)
    model.token_embedding = torch.nn.Embedding.from_pretrained(table.weight[known].detach().clone(), freeze=False)
    claims = np.array([c.claims for c in captions])
    facts = np.stack([pictures.scene, pictures.quality, pictures.word], -1)
    kinds = [np.flatnonzero((claims[:, 0] < 0) == of_all) for of_all in (True, False)]

    decayed = [p for p in model.parameters() if p.ndim >= 2 and p is not model.token_embedding.weight]
    others = [p for p in model.parameters() if p.ndim < 2 or p is model.token_embedding.weight]
    groups = [{"params": decayed, "weight_decay": 0.1}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(groups, lr=training.learning_rate, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.steps + 1, pct_start=0.1, cycle_momentum=False
    )
    rng = np.random.default_rng([training.seed, 1])
    losses = []
    for _ in tqdm(range(training.steps), "train the small CLIP", unit="step", disable=None):
        rows = rng.choice(len(facts), training.batch, replace=training.batch > len(facts))
        chosen = np.array([_true_caption(facts[row], claims, kinds[int(rng.random() < 0.5)], rng) for row in rows])
        claimed = claims[chosen]
        true = ((claimed == facts[rows][:, None]) | (claimed < 0)).all(-1)  # (B, B): is caption j true of picture i?
        images = _pixels(_crop(pictures.images[torch.from_numpy(rows)], architecture.image_size, rng))
        logits = _logits(model, images, tokens[torch.from_numpy(chosen)])
        loss = _symmetric(logits, torch.from_numpy(true).float())
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


def _true_caption(facts: np.ndarray, claims: np.ndarray, among: np.ndarray, rng: np.random.Generator) -> int:
    """Index of a random caption, of those ``among``, that is true of a picture."""
    some = claims[among]
    return int(rng.choice(among[((some == facts) | (some < 0)).all(-1)]))


def _symmetric(logits: Tensor, true: Tensor) -> Tensor:
    """Mean cross-entropy over pictures and over captions; all that is true shares the target equally."""
    over_captions = F.cross_entropy(logits, true / true.sum(1, keepdim=True))
    over_pictures = F.cross_entropy(logits.T, true.T / true.T.sum(1, keepdim=True))
    return (over_captions + over_pictures) / 2


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
    names = scenes()
    tokens = open_clip.tokenize([*QUALITY_TEXTS, *(f"a photo of a {name}" for name in names)])
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
        "chance": 1 / len(names),
    }
