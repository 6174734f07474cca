"""Scores of predictions, intervals over splits, paired comparisons. Pure functions; SciPy does the statistics.

What cannot be computed is NaN with a ``status`` that says why; it is never 0 and never left out.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats
from scipy.optimize import OptimizeWarning, curve_fit
from scipy.special import expit

METRICS = ("srcc", "krcc", "plcc", "plcc_fit", "rmse")
FEWEST = 5  # pictures; a rank correlation of fewer says nothing

Array = NDArray[np.float64]


def logistic(x: Array, high: float, low: float, middle: float, width: float) -> Array:
    """VQEG's four-parameter logistic: low + (high - low) / (1 + exp(-(x - middle) / |width|))."""
    return low + (high - low) * expit((np.asarray(x, float) - middle) / max(abs(width), 1e-12))


def fit_logistic(quality: ArrayLike, score: ArrayLike) -> Array | None:
    """Least-squares parameters of :func:`logistic` from score to quality; None where the search does not end.

    The search runs on standardised scores, since a softmax at temperature 1 spreads over a hundredth of [0, 1]. As usual the
    sign is left free: predictions that run against quality give a falling curve (``high < low``).
    """
    q, s = np.asarray(quality, float), np.asarray(score, float)
    centre, spread = s.mean(), s.std()
    start = [q.max(), q.min(), 0.0, 0.5]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", OptimizeWarning)  # the covariance, which nobody reads, may be undefined
            found, _ = curve_fit(logistic, (s - centre) / spread, q, p0=start, maxfev=20000)
    except RuntimeError:
        return None
    high, low, middle, width = found
    return np.array([high, low, middle * spread + centre, width * spread])


def srcc(quality: ArrayLike, score: ArrayLike) -> tuple[float, str]:
    """Spearman's rank correlation and "ok", or NaN and why there is none."""
    q, s = np.asarray(quality, float), np.asarray(score, float)
    if len(q) < FEWEST:
        return np.nan, f"{len(q)} test pictures, fewer than {FEWEST}"
    if not np.isfinite(s).all():
        return np.nan, f"{np.count_nonzero(~np.isfinite(s))} of {len(s)} predictions are not finite"
    if np.ptp(s) == 0 or np.ptp(q) == 0:
        return np.nan, "constant predictions" if np.ptp(s) == 0 else "constant opinions"
    return float(stats.spearmanr(q, s).statistic), "ok"


def scores(quality: ArrayLike, score: ArrayLike, low: float, high: float) -> dict[str, float | str]:
    """How well ``score`` (N,) predicts ``quality`` (N,), both higher-is-better.

    Parameters
    ----------
    low, high
        The database's score range; ``rmse`` is in its units, after the logistic fit.

    Returns
    -------
    dict
        srcc, krcc (tau-b), plcc of the raw scores, plcc_fit and rmse after the logistic fit, and ``status``: "ok", or why some
        of them are NaN. A fit that falls is named there; its numbers stand as they are.
    """
    q, s = np.asarray(quality, float), np.asarray(score, float)
    found: dict[str, float | str] = dict.fromkeys(METRICS, np.nan)
    rank, status = srcc(q, s)
    if status != "ok":
        return found | {"status": status}
    found |= {
        "srcc": rank,
        "krcc": float(stats.kendalltau(q, s).statistic),
        "plcc": float(stats.pearsonr(q, s).statistic),
    }
    fit = fit_logistic(q, s)
    if fit is None:
        return found | {"status": "the logistic fit does not converge"}
    fitted = logistic(s, *fit)
    found["rmse"] = float(np.sqrt(np.mean((fitted - q) ** 2)) * abs(high - low))
    if np.ptp(fitted) < 1e-9:
        return found | {"status": "the logistic fit is flat"}
    found["plcc_fit"] = float(stats.pearsonr(q, fitted).statistic)
    return found | {"status": "ok" if fit[0] > fit[1] else "the logistic fit falls: predictions run against quality"}


def bootstrap(
    samples: Sequence[ArrayLike],
    statistic: Callable[..., Any],
    level: float,
    resamples: int,
    seed: int,
    vectorized: bool | None = None,
) -> tuple[Any, Any]:
    """Low and high of the percentile bootstrap interval of ``statistic``; each of ``samples`` is resampled independently.

    ``vectorized`` is as in :func:`scipy.stats.bootstrap`. A statistic that returns an array gives arrays.
    """
    rng = np.random.default_rng(seed)
    found = stats.bootstrap(
        samples,
        statistic,
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        rng=rng,
        vectorized=vectorized,
    ).confidence_interval
    return found.low, found.high


def interval(values: ArrayLike, level: float, resamples: int, seed: int) -> dict[str, float]:
    """Median and mean over splits with percentile bootstrap intervals.

    Splits draw their test pictures from one database, so they are not independent: the interval tells how far the number
    depends on the draw of the split, not how it would vary on another database.

    Returns
    -------
    dict
        splits, scored (how many are finite), median, median_low, median_high, mean, mean_low, mean_high, sd. Where fewer than
        two values are finite the interval and sd are NaN.
    """
    given = np.asarray(values, float)
    x = given[np.isfinite(given)]
    found: dict[str, float] = {"splits": len(given), "scored": len(x)}
    for name, statistic in (("median", np.median), ("mean", np.mean)):
        low, high = bootstrap((x,), statistic, level, resamples, seed) if len(x) > 1 else (np.nan, np.nan)
        found |= {name: float(statistic(x)) if len(x) else np.nan, f"{name}_low": low, f"{name}_high": high}
    return found | {"sd": float(np.std(x, ddof=1)) if len(x) > 1 else np.nan}


def paired(a: ArrayLike, b: ArrayLike, level: float, resamples: int, seed: int) -> dict[str, float]:
    """``a`` minus ``b`` (S,), split by split: what :func:`interval` says of the differences, and two more.

    Returns
    -------
    dict
        Those of :func:`interval`, ``won`` (splits where a > b) and ``p`` of the two-sided Wilcoxon signed-rank test; 1 where
        all differences are 0. With S splits it cannot fall below 2 / 2**S: 0.0625 for five.
    """
    difference = np.asarray(a, float) - np.asarray(b, float)
    x = difference[np.isfinite(difference)]
    p = np.nan
    if len(x) > 1:
        p = float(stats.wilcoxon(x).pvalue) if np.any(x) else 1.0
    return interval(difference, level, resamples, seed) | {"won": int(np.count_nonzero(x > 0)), "p": p}


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p values; NaN stays NaN and does not count."""
    values = np.asarray(p, float)
    out = np.full(len(values), np.nan)
    order = [i for i in np.argsort(values, kind="stable") if np.isfinite(values[i])]
    worst = 0.0
    for rank, i in enumerate(order):
        worst = max(worst, min(1.0, values[i] * (len(order) - rank)))
        out[i] = worst
    return [float(v) for v in out]
