"""``grmp explain``: which parts of an image lower its score, and words that describe it.

The relevance of each patch comes from integrated gradients of the model (`grmp.experiments.attribution.relevance`), from a
constant image to this one; nothing finer than a patch is shown. Words are compared by a shipped CLIP, since a quality model
has no text tower; it knows the words of its training captions (docs/models.md) and no others. How colourful an image is
follows from its pixels alone.
"""

import contextlib
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image, PngImagePlugin

from grmp.clip import shipped
from grmp.clip.model import pixels, tokenize
from grmp.data import decode
from grmp.data.find import claim_output
from grmp.errors import UserError
from grmp.experiments.attribution import relevance
from grmp.files import whole
from grmp.finetune.scorer import QualityModel

CLIP = "small-rated"
WORDS = {  # shown -> captions that the CLIP was trained on
    ("sharp", "blurry"): ("a flawless photo.", "a blurry photo."),
    ("clean", "noisy"): ("a flawless photo.", "a noisy photo."),
    ("bright", "dark"): ("an overexposed photo.", "a dark photo."),
}
LOWERS, RAISES = (200, 60, 20), (30, 100, 200)
STRONGEST = 0.65  # opacity of the patch with the largest relevance
SOFTWARE = "grmp explain"  # the mark of an overlay, which may be written again
EXTREMELY_COLOURFUL = 109  # Hasler and Suesstrunk, Measuring colourfulness in natural images, SPIE 2003


def explain(path: Path, model: QualityModel, out: Path, pair: tuple[str, str] | None) -> dict[str, float]:
    """Write the overlay to ``out``; returns the quality, and for each pair of words the share of the first.

    Raises UserError if the image cannot be read, ``out`` is an image that this function did not write, or the CLIP knows none
    of the words in which the texts of ``pair`` differ.
    """
    if not _is_overlay(out):
        claim_output(out)
    try:
        image = decode.open_any(path)
    except decode.FAULTS as error:
        raise UserError(f"{path}: {decode.why(error)}") from None
    prepared, shape = model.prepare(np.asarray(image)), model.clip.shape
    assert not isinstance(prepared, str)  # it is open already
    x = pixels(torch.from_numpy(prepared).to(model.text.device), shape)
    maps, _ = relevance(model, x)
    picture = overlay(image, maps[0].cpu().numpy(), shape.image_size / model.card["size"], model.card["aspect"])
    found = {"quality": float(model.quality(prepared)[0])}
    shown = WORDS | ({pair: pair} if pair else {})
    shares = agrees(image, list(shown.values()))
    found |= {f"{good} / {bad}": share for (good, bad), share in zip(shown, shares, strict=True)}
    found["colourful / dull"] = colourful(np.asarray(image))
    mark = PngImagePlugin.PngInfo()
    mark.add_text("Software", SOFTWARE)
    with whole(out) as beside:
        picture.save(beside, format="PNG", pnginfo=mark)
    return found


def _is_overlay(path: Path) -> bool:
    with contextlib.suppress(OSError), Image.open(path, formats=["PNG"]) as opened:
        return bool(opened.info.get("Software") == SOFTWARE)
    return False


def overlay(image: Image.Image, relevance: np.ndarray, share: float, aspect: str) -> Image.Image:
    """The image with its patches (G, G) in red where they lower the score, in blue where they raise it; ``share`` is scored."""
    width, height = (min(image.size),) * 2 if aspect == "keep" else image.size
    width, height = round(width * share), round(height * share)
    opacity = STRONGEST * np.abs(relevance) / max(np.abs(relevance).max(), 1e-12)
    colours = np.where(relevance[..., None] < 0, LOWERS, RAISES)
    layer = np.concatenate([colours, 255 * opacity[..., None]], axis=-1).round().astype(np.uint8)
    patches = Image.fromarray(layer, "RGBA").resize((width, height), Image.Resampling.NEAREST)
    shown = image.convert("RGBA")
    shown.alpha_composite(patches, ((image.width - width) // 2, (image.height - height) // 2))
    return shown.convert("RGB")


@torch.no_grad()
def agrees(image: Image.Image, pairs: Sequence[tuple[str, str]]) -> list[float]:
    """For each pair of texts the probability that the first one describes the image, not the second."""
    clip, known = shipped.load(CLIP), set(shipped.read(CLIP)[0][shipped.IDS].tolist())
    whole_image = decode.fit(image, clip.shape.image_size, "squash")
    embedded, shares = clip.image(pixels(torch.from_numpy(whole_image.copy())[None], clip.shape)), []
    for texts in pairs:
        tokens = tokenize(texts)
        if not (set(tokens[0].tolist()) ^ set(tokens[1].tolist())) & known:
            raise UserError(
                f"{CLIP} has never read the words of '{texts[0]}' and '{texts[1]}'; it knows blurry, noisy, dark, pale"
            )
        shares.append(float(clip.logits(embedded, clip.text(tokens)).softmax(-1)[0, 0]))
    return shares


def colourful(rgb: np.ndarray) -> float:
    """Hasler and Suesstrunk's M of (H, W, 3) uint8 over that of an extremely colourful image, at most 1."""
    r, g, b = np.moveaxis(rgb.astype(np.float32), -1, 0)
    opponents = np.stack([r - g, (r + g) / 2 - b])
    deviation, mean = opponents.std((1, 2)), opponents.mean((1, 2))
    return float(min(1, (np.hypot(*deviation) + 0.3 * np.hypot(*mean)) / EXTREMELY_COLOURFUL))
