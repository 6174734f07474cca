"""GRMP-IQA: few-shot image quality assessment by adapting CLIP (ICCV 2025), made reproducible."""

from typing import Any


def __getattr__(name: str) -> Any:
    """``from grmp import load`` (`grmp.finetune.scorer.load`) imports torch; ``import grmp`` does not."""
    if name == "load":
        from grmp.finetune.scorer import load

        return load
    raise AttributeError(name)
