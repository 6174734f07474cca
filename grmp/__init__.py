"""GRMP-IQA: few-shot image quality assessment by adapting CLIP (ICCV 2025), made reproducible."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

    from grmp.finetune.scorer import QualityModel


def load(model: "str | Path" = "photo", device: str = "auto") -> "QualityModel":
    """A quality model: see `grmp.finetune.scorer.load`. torch is imported at the first call."""
    from grmp.finetune.scorer import load as read

    return read(model, device)
