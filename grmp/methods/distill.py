"""A small student of the adapted CLIP, in the manner of vision-language distillation for IQA (Hou and Song, arXiv 2507.15680).

As there: CLIP is first adapted to quality, then its knowledge guides a network of a fraction of its size.

What differs. The teacher is any method of kind ``tune`` after adaptation to the K labels, GRMP-IQA for one; it scores all
pictures of the split's training side, and these scores are all that the student sees: no label enters its training, and no
picture of the test side. Scores alone are distilled, where the paper adapts what is distilled to the teacher's modalities; the
student is a plain CNN from a seeded start, where theirs is chosen for its architecture: it tells what a small model keeps, and
no more. (Of the paper, the abstract was at hand.)

The student: four 3x3 convolutions of stride 2 with 16, 32, 64 and 128 channels and ReLU, the mean over places, one linear map:
97,569 values. No normalisation layers: brightness and contrast are part of quality.
"""

from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn

from grmp.clip.model import Shape, map_images, pixels
from grmp.data.crops import crop
from grmp.finetune.types import SplitResult
from grmp.methods.small_net import fit, fresh, start_at
from grmp.params import Fit

CHANNELS = (3, 16, 32, 64, 128)
BATCH = 256  # pictures of a forward without gradients


class Student(nn.Module):
    """Normalised pixels (B, 3, S, S) -> scores (B,)."""

    def __init__(self) -> None:
        """See the head of this file."""
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(a, b, 3, stride=2, padding=1) for a, b in pairwise(CHANNELS))
        self.head = nn.Linear(CHANNELS[-1], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Scores (B,)."""
        for convolution in self.convolutions:
            x = convolution(x).relu()
        return self.head(x.mean((2, 3))).squeeze(-1)


def learn(
    images: np.ndarray,
    rows: np.ndarray,
    scores: np.ndarray,
    shape: Shape,
    settings: Fit,
    seed: tuple[int, int],
    device: torch.device,
) -> tuple[Student, SplitResult]:
    """A student of the teacher's ``scores`` (M,) on the pictures ``rows`` (M,), and the result of its training, without scores.

    Every epoch sees each picture once, under a fresh crop and flip of the size that CLIP sees.
    """
    margin = images.shape[-1] - shape.image_size

    def inputs(members: np.ndarray, epoch: int) -> Tensor:
        crops = []
        for row in rows[members]:
            rng = np.random.default_rng([*seed, int(row), epoch])
            y, x, flip = rng.integers(0, [margin + 1, margin + 1, 2])
            crops.append((int(row), int(y), int(x), bool(flip)))
        return pixels(crop(images, crops, shape.image_size).to(device), shape)

    targets = torch.from_numpy(scores.astype(np.float32)).to(device)
    student = fresh(Student, torch.Generator().manual_seed(1000 * seed[0] + seed[1]), device)
    start_at(student.head, float(targets.mean()))
    return student, fit(student, inputs, targets, settings, seed)


def predict(student: Student, images: np.ndarray, rows: np.ndarray, shape: Shape, device: torch.device) -> np.ndarray:
    """The student's scores (M,) of the centre crops of ``rows`` (M,)."""
    return map_images(student, images, rows, shape, device, BATCH).numpy()
