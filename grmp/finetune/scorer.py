"""A model that judges quality: a prompted CLIP's image tower and the embeddings of its two texts. Kept in one file.

    from grmp.model import load
    for path, quality, trouble in load(Path("product.safetensors")).judge(sorted(Path("pictures").iterdir())): ...

``grmp train`` writes such a file, ``grmp score`` reads it; it needs no world beside it.
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

from grmp.clip import checkpoints as checkpoints
from grmp.clip import model as clip
from grmp.clip.model import Shape, Tensors
from grmp.data.crops import centre, crop
from grmp.data.custom import Scale
from grmp.data.decode import try_image
from grmp.errors import UserError
from grmp.pool import cpus

AT_ONCE = 64  # pictures of a batch
LARGEST = 4096  # pixels a side of a prepared picture; a file that says more is damaged
NEEDED = ("visual.", "logit_scale")  # of an adapted CLIP: the text tower has said what it had to say
TEXT = "text"
GIVE = "give a file that `grmp train` wrote"


@dataclass(frozen=True)
class Model:
    """A prompted CLIP that judges quality: its tensors, and its two texts' embeddings (2, E), the better one first."""

    tensors: Tensors
    text: Tensor
    shape: Shape
    card: dict[str, Any] = field(default_factory=dict)  # of a model in a file: how to prepare pictures, and its history

    def embed(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) normalised pixels -> unit-length embeddings (B, E)."""
        return clip.image_embedding(self.tensors, x, self.shape)

    def logit(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) -> (B,): log-odds of the better text; the score is its sigmoid."""
        both = clip.logits(self.tensors, self.embed(x), self.text)
        return both[:, 0] - both[:, 1]

    @torch.no_grad()
    def score(self, images: np.ndarray) -> np.ndarray:
        """Prepared images (N, 3, S, S) uint8 -> quality (N,) in [0, 1], higher is better; by their centre crops."""
        margin, out = images.shape[-1] - self.shape.image_size, []
        for rows in np.array_split(np.arange(len(images)), math.ceil(len(images) / AT_ONCE)):
            x = crop(images, centre(rows, margin), self.shape.image_size).to(self.text.device)
            out.append(self.logit(clip.pixels(x, self.shape)).sigmoid().cpu().numpy())
        return np.concatenate(out) if out else np.empty(0)

    def judge(self, paths: Sequence[Path]) -> Iterator[tuple[Path, float, str]]:
        """(path, quality in [0, 1], "") of pictures in files; of one that cannot be read (path, NaN, why)."""
        read = partial(try_image, size=self.card["size"], aspect=self.card["aspect"], upright=True)
        with ThreadPoolExecutor(cpus()) as pool:
            for start in range(0, len(paths), AT_ONCE):
                some = paths[start : start + AT_ONCE]
                pictures = list(pool.map(read, some))
                good = [p for p in pictures if not isinstance(p, str)]
                scores = iter(self.score(np.stack(good)).tolist() if good else [])
                for path, picture in zip(some, pictures, strict=True):
                    yield (path, math.nan, picture) if isinstance(picture, str) else (path, next(scores), "")

    @property
    def scale(self) -> Scale:
        """Of the ratings that it was trained on."""
        return TypeAdapter(Scale).validate_python(self.card["scale"])

    def save(self, path: Path) -> None:
        """Write it as one whole file."""
        tensors = {n: t for n, t in self.tensors.items() if n.startswith(NEEDED)} | {TEXT: self.text}
        checkpoints.save(path, tensors, self.card | {"config": self.shape.as_dict()})


def load(path: Path, device: torch.device | str = "cpu") -> Model:
    """The model in a file that ``grmp train`` wrote.

    Raises
    ------
    UserError
        If it is missing, damaged, or something else.
    """
    tensors, card = checkpoints.read(path, GIVE, first="")
    try:
        shape, text = Shape(**card["config"]), tensors.pop(TEXT).to(device)
        model = Model({n: t.to(device) for n, t in tensors.items()}, text, shape, card)
        fits = isinstance(card["size"], int) and 0 < shape.patch_size <= shape.image_size <= card["size"] <= LARGEST
        if not (fits and card["aspect"] in ("squash", "keep") and model.scale.low < model.scale.high):
            raise ValueError("its card does not fit its shape")
        model.score(np.zeros((1, 3, card["size"], card["size"]), np.uint8))  # tensors that are missing or do not fit
    except (KeyError, TypeError, ValueError, RuntimeError, IndexError, AttributeError) as error:
        raise UserError(f"{path} is no model ({' '.join(str(error).split())[:120]}); {GIVE}") from None
    return model
