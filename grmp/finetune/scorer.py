"""A trained quality model in one file: the image tower of a fine-tuned CLIP and the embeddings of its two texts.

    from grmp.finetune.scorer import load
    for path, quality, problem in load(Path("product.safetensors")).rate(sorted(Path("images").iterdir())): ...

``grmp train`` writes such a file and ``grmp score`` reads it; no pipeline folder is needed.
"""

import math
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from torch import Tensor

from grmp.clip import checkpoints
from grmp.clip.model import PromptedCLIP, Shape, Tensors
from grmp.data.custom import Scale
from grmp.data.decode import try_image
from grmp.device import cpus
from grmp.errors import UserError

BATCH = 64  # images
LARGEST = 4096  # side of a prepared image in pixels; a file that states more is corrupt
NEEDED = ("visual.", "logit_scale")  # tensors to store: the text tower is represented by the two embeddings
TEXT = "text"
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
        image, text = self.clip.image(x), self.text
        if text.ndim == 1:
            return (image @ text[:-1] + text[-1]).clamp(1e-6, 1 - 1e-6).logit()
        both = self.clip.logits(image, text)
        return both[:, 0] - both[:, 1]

    def score(self, images: np.ndarray) -> np.ndarray:
        """Prepared images (N, 3, S, S) uint8 -> quality (N,) in [0, 1], higher is better, of their centre crops.

        Scores do not depend on the other images: on a CPU, where the last digit depends on the size of a batch, images are
        scored one by one; on a GPU the last batch is padded.
        """
        batch = 1 if self.text.device.type == "cpu" else BATCH
        rows = np.arange(math.ceil(len(images) / batch) * batch).clip(max=len(images) - 1)
        return self.clip.map(lambda x: self.logit(x).sigmoid(), images, rows, batch).numpy()[: len(images)]

    def rate(self, paths: Sequence[Path]) -> Iterator[tuple[Path, float, str]]:
        """(path, quality in [0, 1], "") of image files; (path, NaN, reason) of one that cannot be read."""
        read = partial(try_image, size=self.card["size"], aspect=self.card["aspect"], displayed=True)
        with ThreadPoolExecutor(cpus()) as pool:
            for start in range(0, len(paths), BATCH):
                some = paths[start : start + BATCH]
                images = list(pool.map(read, some))
                good = [i for i in images if not isinstance(i, str)]
                scores = iter(self.score(np.stack(good)).tolist() if good else [])
                for path, image in zip(some, images, strict=True):
                    score = math.nan if isinstance(image, str) else next(scores)
                    reason = (
                        image if isinstance(image, str) else "" if math.isfinite(score) else "its score is not finite"
                    )
                    yield path, score, reason

    @property
    def scale(self) -> Scale:
        """The rating scale of the training images."""
        return TypeAdapter(Scale).validate_python(self.card["scale"])

    def save(self, path: Path) -> None:
        """Write the model; the file appears complete or not at all."""
        tensors = {n: t for n, t in self.clip.weights.items() if n.startswith(NEEDED)} | {TEXT: self.text}
        checkpoints.save(path, tensors, self.card | {"config": self.clip.shape.as_dict()})


def load(path: Path, device: torch.device | str = "cpu") -> QualityModel:
    """The model in a file that ``grmp train`` wrote.

    Raises
    ------
    UserError
        If it is missing, corrupt, or something else.
    """
    tensors, card = checkpoints.read(path, REMEDY, first="")
    try:
        shape, text = Shape(**card["config"]), tensors.pop(TEXT).to(device)
        model = QualityModel(PromptedCLIP({n: t.to(device) for n, t in tensors.items()}, shape), text, card)
        fits = isinstance(card["size"], int) and 0 < shape.patch_size <= shape.image_size <= card["size"] <= LARGEST
        if not (fits and card["aspect"] in ("squash", "keep") and model.scale.low < model.scale.high):
            raise ValueError("its card does not match its shape")
        model.score(np.zeros((1, 3, card["size"], card["size"]), np.uint8))  # tensors that are missing or do not fit
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        raise UserError(f"{path} is not a quality model ({' '.join(str(error).split())[:120]}); {REMEDY}") from None
    return model
