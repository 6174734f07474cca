"""How reliable a score is: the rating that it predicts, an interval around it, and its rank among known images.

The interval is split-conformal (Lei et al., Distribution-Free Predictive Inference for Regression, JASA 2018): its half
width is a quantile of the absolute errors on images that the model had not seen. It contains the rating of a new image
with probability ``LEVEL`` if those images were held out from everything and the new one comes from where they came from.
For `grmp train` it is approximate, as the errors are those of the models of its folds (docs/score.md: coverage as measured).
"""

import math
from typing import Any

import numpy as np

from grmp.data.scale import Scale

LEVEL = 0.9
SHARES = np.linspace(0, 1, 101)


def measure(quality: np.ndarray, scores: np.ndarray, of: str) -> dict[str, Any]:
    """Entries of a model's card: absolute ``errors`` in increasing order, and those of :func:`among`.

    Parameters
    ----------
    quality, scores
        (N,) in [0, 1]: the rated quality of images, and their scores by a model that has not seen them.
    of
        What these images are, for the user: "the 50 rated images".
    """
    return {"errors": np.sort(np.abs(quality - scores)).round(6).tolist()} | among(scores, of)


def among(scores: np.ndarray, of: str) -> dict[str, Any]:
    """Entries of a model's card: ``percentiles`` of the scores (N,) of known images, and what these are."""
    return {"percentiles": np.quantile(scores, SHARES).round(6).tolist(), "known": of}


def half_width(card: dict[str, Any]) -> float | None:
    """Of the interval of a score on [0, 1]; 1 where too few images are known to promise anything, None where none are."""
    errors = card.get("errors") or []
    rank = math.ceil((len(errors) + 1) * LEVEL)
    return float(errors[rank - 1]) if rank <= len(errors) else 1.0 if errors else None


def judge(card: dict[str, Any], scale: Scale, quality: np.ndarray) -> dict[str, np.ndarray]:
    """Scores (N,) -> columns (N,): quality, percentile among known images, predicted rating, and its interval low to high.

    Percentile and interval are NaN for a model whose card does not have what they need.
    """
    known, width = card.get("percentiles"), half_width(card)
    width = np.nan if width is None else width
    ends = np.sort(scale.mos(np.clip(np.stack([quality - width, quality + width]), 0, 1)), axis=0)
    percentile = 100 * np.interp(quality, known, SHARES) if known else np.full_like(quality, np.nan)
    return {
        "quality": quality,
        "percentile": np.where(np.isnan(quality), np.nan, percentile),
        "predicted_rating": scale.mos(quality),
        "low": ends[0],
        "high": ends[1],
    }
