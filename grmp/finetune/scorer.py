"""A quality model: an image tower and the embeddings of its two texts, in one file or shipped with the package.

    from grmp import load
    model = load()                                  # the shipped scorer; load("product.safetensors") what `grmp train` wrote
    model.score(["a.jpg", array, pil_image])        # (3,) quality in [0, 1]
    model.table("photographs/")                     # a DataFrame with intervals, one row per image

No pipeline folder is needed. Imports are few: ``grmp score`` answers within seconds. The shipped scorer has a second head,
two linear layers on the stem's pooled features, whose output is added to the log-odds:

    visual.head.0.weight | bias    (H, 1792) | (H)
    visual.head.1.weight | bias    (1, H) | (1)
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from grmp.clip import checkpoints, shipped, stem
from grmp.clip.model import PromptedCLIP, Shape, Tensors, tokenize
from grmp.data import decode
from grmp.data.find import find
from grmp.data.scale import Scale
from grmp.device import cpus, find_device
from grmp.errors import UserError, one_line
from grmp.files import sha256
from grmp.finetune import trust

if TYPE_CHECKING:
    import pandas as pd

Source = str | Path | bytes | np.ndarray | Image.Image  # a file, its bytes, (H, W) or (H, W, 3) uint8, or an image
BATCH = 64  # images on a GPU
LARGEST = 4096  # side of a prepared image in pixels; a file that states more is corrupt
NEEDED = ("visual.", "logit_scale")  # tensors to store: the text tower is represented by the two embeddings
TEXT, HEAD = "text", "visual.head."
TEXTS = ("a photo with high quality.", "a photo with low quality.")  # of a CLIP that has not been fine-tuned
REMEDY = "give a file that `grmp train` wrote"


@dataclass(frozen=True)
class QualityModel:
    """A CLIP and the embeddings of its two quality texts (2, E), the better quality first.

    After ridge regression ``text`` is its weights on the image embedding with the intercept behind them, (E + 1,).
    """

    clip: PromptedCLIP
    text: Tensor
    card: dict[str, Any] = field(default_factory=dict)  # of a model in a file: how to prepare images, and its history

    @classmethod
    @torch.no_grad()
    def of(cls, tensors: Tensors, shape: Shape, tokens: Tensor) -> "QualityModel":
        """From a fine-tuned CLIP and the token ids (2, 77) of its quality texts."""
        clip = PromptedCLIP(tensors, shape)
        return cls(clip, clip.quality_text(tokens))

    def logit(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) normalised pixels -> (B,): log-odds of the better text; the score is its sigmoid."""
        return self.logit_and_embedding(x)[0]

    def logit_and_embedding(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """``logit``, and the image embeddings (B, E)."""
        p, features = self.clip.weights, self.clip.features(x, -1)
        image, text = self.clip.image_from(features, -1), self.text
        if text.ndim == 1:
            return (image @ text[:-1] + text[-1]).clamp(1e-6, 1 - 1e-6).logit(), image
        both = self.clip.logits(image, text)
        odds = both[:, 0] - both[:, 1]
        if f"{HEAD}0.weight" in p:
            hidden = F.gelu(F.linear(stem.pooled(features), p[f"{HEAD}0.weight"], p[f"{HEAD}0.bias"]))
            odds = odds + F.linear(hidden, p[f"{HEAD}1.weight"], p[f"{HEAD}1.bias"])[:, 0]
        return odds, image

    def quality(self, images: np.ndarray) -> np.ndarray:
        """Prepared images (N, 3, S, S) uint8 -> quality (N,) in [0, 1], higher is better, of their centre crops.

        Scores do not depend on the other images: on a CPU, where the last digit depends on the size of a batch, images are
        scored one by one; on a GPU the last batch is padded.
        """
        batch = 1 if self.text.device.type == "cpu" else BATCH
        rows = np.arange(math.ceil(len(images) / batch) * batch).clip(max=len(images) - 1)
        return self.clip.map(lambda x: self.logit(x).sigmoid(), images, rows, batch).numpy()[: len(images)]

    def prepare(self, source: Source, crops: int = 0) -> np.ndarray | str:
        """(1 + crops, 3, S, S) uint8: the whole image and crops at its own resolution; or the reason why there is none."""
        try:
            image = decode.open_any(source)
        except decode.FAULTS as error:
            return decode.why(error)
        side, margin = self.clip.shape.image_size, (self.card["size"] - self.clip.shape.image_size) // 2
        whole = decode.fit(image, self.card["size"], self.card["aspect"])
        return np.stack([whole[:, margin : margin + side, margin : margin + side], *decode.crops(image, side, crops)])

    def rate(self, sources: Sequence[Source], crops: int = 0) -> Iterator[tuple[np.ndarray, str]]:
        """For each image its quality and that of ``crops`` crops, (1 + crops,), and ""; or NaN and the reason.

        On a CPU each thread prepares and scores its own images, and results come as soon as they are known. torch computes
        with one thread in each of them, whatever its number in the caller's.
        """
        prepare, threads = partial(self.prepare, crops=crops), torch.get_num_threads()
        try:
            with ThreadPoolExecutor(cpus(), initializer=torch.set_num_threads, initargs=(1,)) as pool:
                for start in range(0, len(sources), BATCH):
                    some = sources[start : start + BATCH]
                    if self.text.device.type == "cpu":
                        yield from pool.map(lambda source: self.rated([prepare(source)], crops)[0], some)
                    else:
                        yield from self.rated(list(pool.map(prepare, some)), crops)
        finally:
            torch.set_num_threads(threads)  # for threads that the caller starts later

    def rated(self, images: list[np.ndarray | str], crops: int = 0) -> list[tuple[np.ndarray, str]]:
        """The same of what ``prepare`` returned."""
        good = [image for image in images if not isinstance(image, str)]
        scores = iter(self.quality(np.concatenate(good)).reshape(-1, 1 + crops).astype(float) if good else [])
        found = [(np.full(1 + crops, np.nan), i) if isinstance(i, str) else (next(scores), "") for i in images]
        return [(q, r if r or np.isfinite(q).all() else "its score is not finite") for q, r in found]

    def score(self, images: Source | Sequence[Source]) -> np.ndarray:
        """(N,) quality in [0, 1], higher is better, of one image, of several in a list, or of an array (N, H, W, 3) uint8.

        Raises UserError if one cannot be read.
        """
        if isinstance(images, np.ndarray) and images.ndim > 2 and images.shape[2:] not in ((3,), (4,)):
            images = list(images)
        elif isinstance(images, Source):
            images = [images]
        found = list(self.rate(images))
        for i, (image, (_, reason)) in enumerate(zip(images, found, strict=True)):
            if reason:
                raise UserError(f"{image if isinstance(image, str | Path) else f'image {i}'}: {reason}")
        return np.array([quality[0] for quality, _ in found])

    def table(self, images: "str | Path | Sequence[str | Path]") -> "pd.DataFrame":
        """One row for each image of a folder, or for each file: ``image``, the columns of `trust.judge`, and ``problem``."""
        import pandas as pd

        paths = find([Path(images)] if isinstance(images, str | Path) else [Path(p) for p in images])
        found = list(self.rate(paths))
        judged = self.judge(np.array([quality[0] for quality, _ in found]))
        return pd.DataFrame({"image": [str(p) for p in paths], **judged, "problem": [reason for _, reason in found]})

    def judge(self, quality: np.ndarray) -> dict[str, np.ndarray]:
        """What scores (N,) mean: see `trust.judge`."""
        return trust.judge(self.card, self.scale, quality)

    def among_photographs(self) -> dict[str, Any]:
        """Entries of the card: see `trust.among`, for shipped photographs of BIQ2021; none for a CLIP without their stem."""
        if not self.clip.shape.stem:
            return {}
        known = shipped.reference().numpy()
        scores = self.clip.map(lambda x: self.logit(x).sigmoid(), known, np.arange(len(known))).numpy()
        return trust.among(scores, f"{len(known)} photographs of BIQ2021")

    @property
    def scale(self) -> Scale:
        """The rating scale of the training images."""
        scale = Scale(**self.card["scale"])
        if not -math.inf < scale.low < scale.high < math.inf:
            raise ValueError("its rating scale is empty")
        return scale

    def save(self, path: Path) -> None:
        """Write the model; the file appears complete or not at all."""
        tensors = {n: t for n, t in self.clip.weights.items() if n.startswith(NEEDED)} | {TEXT: self.text}
        checkpoints.save(path, tensors, self.card | {"config": vars(self.clip.shape)})


def load(
    model: str | Path = shipped.SCORER, device: torch.device | str = "auto", folder: Path = shipped.FOLDER
) -> QualityModel:
    """A shipped scorer by its name, a shipped CLIP (zero-shot) by its name, or the model in a file that ``grmp train`` wrote.

    The score of the shipped scorer is MOS on BIQ2021's scale (docs/models.md). Raises UserError if the model is missing,
    corrupt, or something else. ``folder`` has the shipped models. No setting of torch is changed.
    """
    if isinstance(device, str):
        device = find_device(device)
    if str(model) in shipped.names(folder):
        return _zero_shot(str(model), device)
    if str(model) == shipped.SCORER:
        (tensors, card, digest), remedy = shipped.read(shipped.SCORER, folder), shipped.REMEDY
    else:
        (tensors, card), digest, remedy = checkpoints.read(Path(model), REMEDY, first=""), sha256(Path(model)), REMEDY
    try:
        shape, text = Shape(**card["config"]), tensors.pop(TEXT).to(device)
        clip = PromptedCLIP({n: t.to(device) for n, t in tensors.items()}, shape)
        found = QualityModel(clip, text, card | {"sha256": digest})
        fits = isinstance(card["size"], int) and 0 < shape.patch_size <= shape.image_size <= card["size"] <= LARGEST
        if not (fits and card["aspect"] in ("squash", "keep")):
            raise ValueError("its card does not match its shape")
        found.judge(found.quality(np.zeros((1, 3, card["size"], card["size"]), np.uint8)))  # what does not fit fails
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        raise UserError(f"{model} is not a quality model of this version ({one_line(error, 120)}); {remedy}") from None
    return found


def _zero_shot(name: str, device: torch.device) -> QualityModel:
    """A shipped CLIP that compares an image with the two quality texts; its scores have a percentile, and no interval."""
    clip = shipped.load(name).to(device)
    scale = {"low": 0, "high": 1, "higher_better": True}
    card = {"size": 244, "aspect": "squash", "scale": scale, "method": "zero_shot", "sha256": clip.sha256}
    found = QualityModel.of(clip.weights, clip.shape, tokenize(TEXTS))
    return replace(found, card=card | found.among_photographs())
