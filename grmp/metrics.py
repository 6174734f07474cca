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
FEWEST = 5  # images; a rank correlation of fewer is meaningless
CONSTANT = 1e-9  # scores that differ by less are equal

Array = NDArray[np.float64]


def logistic(x: Array, high: float, low: float, middle: float, width: float) -> Array:
    """VQEG's four-parameter logistic: low + (high - low) / (1 + exp(-(x - middle) / |width|))."""
    return low + (high - low) * expit((np.asarray(x, float) - middle) / max(abs(width), 1e-12))


def fit_logistic(quality: ArrayLike, score: ArrayLike) -> Array | None:
    """Least-squares parameters of :func:`logistic` from score to quality; None if no search converges.

    The search runs on standardized scores, from the usual start and from curves that are close to the least-squares line, so
    that the fit is at least as good as a linear one. The sign is free: predictions that run against quality give a
    decreasing curve (``high < low``).
    """
    q, s = np.asarray(quality, float), np.asarray(score, float)
    centre, spread = s.mean(), s.std()
    x = (s - centre) / spread
    slope = float(np.mean(x * (q - q.mean())))
    starts = [[q.max(), q.min(), 0.0, 0.5]]
    starts += [[q.mean() + 2 * width * slope, q.mean() - 2 * width * slope, 0.0, width] for width in (2.0, 20.0)]
    best, least = None, np.inf
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", OptimizeWarning)  # the covariance, which is not used, may be undefined
        for start in starts:
            try:
                found, _ = curve_fit(logistic, x, q, p0=start, maxfev=20000)
            except RuntimeError:
                continue
            error = float(np.sum((logistic(x, *found) - q) ** 2))
            if error < least - 1e-12:
                best, least = found, error
    if best is None:
        return None
    high, low, middle, width = best
    return np.array([high, low, middle * spread + centre, width * spread])


def srcc(quality: ArrayLike, score: ArrayLike) -> tuple[float, str]:
    """Spearman's rank correlation and "ok", or NaN and why there is none."""
    q, s = np.asarray(quality, float), np.asarray(score, float)
    if len(q) < FEWEST:
        return np.nan, f"{len(q)} test images, fewer than {FEWEST}"
    if not np.isfinite(s).all():
        return np.nan, f"{np.count_nonzero(~np.isfinite(s))} of {len(s)} predictions are not finite"
    if np.ptp(s) < CONSTANT or np.ptp(q) < CONSTANT:
        return np.nan, "constant predictions" if np.ptp(s) < CONSTANT else "constant ratings"
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
        of them are NaN. After a decreasing or failed fit, plcc_fit and rmse are NaN.
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
    if np.ptp(fitted) < CONSTANT:
        return found | {"status": "the logistic fit is flat"}
    if np.corrcoef(s, fitted)[0, 1] < 0:
        return found | {"status": "the logistic fit decreases: predictions run against quality"}
    rmse = float(np.sqrt(np.mean((fitted - q) ** 2)) * abs(high - low))
    return found | {"plcc_fit": float(stats.pearsonr(q, fitted).statistic), "rmse": rmse, "status": "ok"}


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


def corrected_t(differences: ArrayLike, level: float, test_share: float = 0.2) -> dict[str, float]:
    """Corrected resampled t-test of paired differences over random splits (Nadeau and Bengio, Machine Learning 52, 2003).

    Random splits share images, so the variance of their mean is multiplied by 1 + J n_test / n_train. Valid where training sets
    are a fixed share of the images (shares of the labels, full supervision), not for K labels.

    Parameters
    ----------
    differences
        (J,) one per split; values that are not finite are excluded.
    test_share
        Images in the test set, as a share of the database.

    Returns
    -------
    dict
        mean, low, high at ``level``, and the two-sided ``p``; NaN with fewer than two splits.
    """
    x = np.asarray(differences, float)
    x = x[np.isfinite(x)]
    found = {"mean": float(x.mean()) if len(x) else np.nan, "low": np.nan, "high": np.nan, "p": np.nan}
    if len(x) < 2:
        return found
    error = float(np.std(x, ddof=1) * np.sqrt(1 / len(x) + test_share / (1 - test_share)))
    half = float(stats.t.ppf(0.5 + level / 2, len(x) - 1)) * error
    p = float(2 * stats.t.sf(abs(found["mean"]) / error, len(x) - 1)) if error > 0 else float(found["mean"] == 0)
    return found | {"low": found["mean"] - half, "high": found["mean"] + half, "p": p}


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
