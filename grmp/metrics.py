"""Scores of predictions, intervals over splits, paired comparisons. Pure functions; SciPy does the statistics.

What cannot be computed is NaN with a ``status`` that says why; it is never 0 and never left out.
"""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import scipy  # imports its parts when they are used: scipy.stats takes longer than most notebooks need for the rest
from numpy.typing import ArrayLike, NDArray

METRICS = ("srcc", "krcc", "plcc", "plcc_fit", "rmse")
FEWEST = 5  # images; a rank correlation of fewer is meaningless
CONSTANT = 1e-9  # scores within this are equal,
ROUNDING = 2e-7  # or within this share of the largest: float32 rounds by less
NO_TEST = {"low": np.nan, "high": np.nan, "p": np.nan}

Array = NDArray[np.float64]


def logistic(x: Array, high: float, low: float, middle: float, width: float) -> Array:
    """VQEG's four-parameter logistic: low + (high - low) / (1 + exp(-(x - middle) / |width|))."""
    return low + (high - low) * scipy.special.expit((np.asarray(x, float) - middle) / max(abs(width), 1e-12))


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
    with warnings.catch_warnings(action="ignore"):  # of the covariance, which is not used
        for start in starts:
            try:
                found, _ = scipy.optimize.curve_fit(logistic, x, q, p0=start, maxfev=20000)
            except RuntimeError:
                continue
            error = float(np.sum((logistic(x, *found) - q) ** 2))
            if error < least - 1e-12:
                best, least = found, error
    if best is None:
        return None
    high, low, middle, width = best
    return np.array([high, low, middle * spread + centre, width * spread])


def increasing_fit(quality: ArrayLike, score: ArrayLike) -> tuple[Array | None, str]:
    """``fit_logistic`` and "ok", or None and why its curve may not be used: flat, decreasing, not found, nothing to fit."""
    q, s = np.asarray(quality, float), np.asarray(score, float)
    if not np.isfinite(s).all() or constant(s):
        return None, "predictions are constant or not finite"
    if (fit := fit_logistic(q, s)) is None:
        return None, "the logistic fit does not converge"
    if constant(fitted := logistic(s, *fit)):
        return None, "the logistic fit is flat"
    if np.corrcoef(s, fitted)[0, 1] < 0:
        return None, "the logistic fit decreases: predictions run against quality"
    return fit, "ok"


def srcc(quality: ArrayLike, score: ArrayLike) -> tuple[float, str]:
    """Spearman's rank correlation and "ok", or NaN and why there is none."""
    q, s = np.asarray(quality, float), np.asarray(score, float)
    if len(q) < FEWEST:
        return np.nan, f"{len(q)} test images, fewer than {FEWEST}"
    if not np.isfinite(s).all():
        return np.nan, f"{np.count_nonzero(~np.isfinite(s))} of {len(s)} predictions are not finite"
    if constant(s) or constant(q):
        return np.nan, "constant predictions" if constant(s) else "constant ratings"
    return float(scipy.stats.spearmanr(q, s).statistic), "ok"


def constant(x: Array) -> bool:
    """Whether all values of ``x`` are equal to within rounding."""
    return bool(np.ptp(x) <= max(CONSTANT, ROUNDING * np.abs(x).max()))


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
        "krcc": float(scipy.stats.kendalltau(q, s).statistic),
        "plcc": float(scipy.stats.pearsonr(q, s).statistic),
    }
    fit, status = increasing_fit(q, s)
    if fit is None:
        return found | {"status": status}
    fitted = logistic(s, *fit)
    rmse = float(np.sqrt(np.mean((fitted - q) ** 2)) * abs(high - low))
    return found | {"plcc_fit": float(scipy.stats.pearsonr(q, fitted).statistic), "rmse": rmse, "status": "ok"}


def bootstrap(
    samples: Sequence[ArrayLike], statistic: Callable[..., Any], level: float, resamples: int, seed: int
) -> tuple[Any, Any]:
    """Low and high of the percentile bootstrap interval of ``statistic``; each of ``samples`` is resampled independently.

    A statistic without the parameter ``axis`` is called once per resample; one that returns an array gives arrays.
    """
    options: Any = {"confidence_level": level, "n_resamples": resamples, "rng": np.random.default_rng(seed)}
    with warnings.catch_warnings(action="ignore", category=scipy.stats.DegenerateDataWarning):  # it is NaN then
        found = scipy.stats.bootstrap(samples, statistic, method="percentile", **options).confidence_interval
    return found.low, found.high


def interval(values: ArrayLike, level: float, resamples: int, seed: int) -> dict[str, float]:
    """Median and mean over splits of one database, with percentile bootstrap intervals over the draw of the splits.

    Returns
    -------
    dict
        splits, scored (how many are finite), median, median_low, median_high, mean, mean_low, mean_high, sd. Where fewer than
        two values are finite the intervals and sd are NaN.
    """
    given = np.asarray(values, float)
    x = given[np.isfinite(given)]
    found: dict[str, float] = {"splits": len(given), "scored": len(x)}
    for name, statistic in (("median", np.median), ("mean", np.mean)):
        low, high = bootstrap((x,), statistic, level, resamples, seed) if len(x) > 1 else (np.nan, np.nan)
        found |= {name: float(statistic(x)) if len(x) else np.nan, f"{name}_low": low, f"{name}_high": high}
    return found | {"sd": float(np.std(x, ddof=1)) if len(x) > 1 else np.nan}


def corrected_t(differences: ArrayLike, level: float, test_share: float, train_share: float = 1.0) -> dict[str, float]:
    """Corrected resampled t-test of paired differences over random splits (Nadeau and Bengio, Machine Learning 52, 2003).

    The test sides of random splits share images, so the variance of their mean is multiplied by 1 + J n_test / n_train. Valid
    where training sets are a share of the images (shares of the labels, full supervision).

    Parameters
    ----------
    differences
        (J,) one per split; values that are not finite are excluded.
    test_share
        Images in the test set, as a share of the database.
    train_share
        Labelled images, as a share of all others.

    Returns
    -------
    dict
        low, high at ``level``, and the two-sided ``p``; NaN with fewer than two splits.
    """
    x = np.asarray(differences, float)
    x = x[np.isfinite(x)]
    if len(x) < 2:
        return dict(NO_TEST)
    return _t(x, np.var(x, ddof=1) * (1 / len(x) + test_share / (train_share * (1 - test_share))), len(x) - 1, level)


def two_way(
    differences: ArrayLike, resampled: ArrayLike, sources: int, level: float, runs: int = 0
) -> dict[str, float]:
    """Interval and test of the mean difference over other images and other splits: a two-way bootstrap.

    The variances of two resamplings add up: of images, drawn once for all splits, and of splits, whose bootstrap variance
    has a closed form. The interval is that of Student's t with the degrees of freedom of Welch and Satterthwaite, since a
    percentile interval over few splits is too narrow.

    Splits that start from the same run of pre-training are not independent. With few runs their variance is poorly estimated,
    so the interval is the wider one of two: with runs drawn instead of splits, and with splits drawn.

    Parameters
    ----------
    differences
        (J,) one per split; values that are not finite are excluded.
    resampled
        (B,) mean differences over the splits, each with images drawn anew (:func:`draw`, :func:`correlations`).
    sources
        How many images, or sources of images, were drawn from.
    runs
        How many runs of pre-training the splits share, split j run j modulo ``runs``; 0: none.

    Returns
    -------
    dict
        As :func:`corrected_t`.
    """
    x, y = np.asarray(differences, float), np.asarray(resampled, float)
    numbers = np.flatnonzero(np.isfinite(x))
    x, y, found = x[numbers], y[np.isfinite(y)], []
    for group in [numbers, numbers % runs] if runs else [numbers]:
        count = len(set(group))
        if min(count, len(y), sources) < 2:
            return dict(NO_TEST)
        sums = np.bincount(group, x - x.mean()) / len(x)  # of one split or run each
        splits, images = count / (count - 1) * np.sum(sums**2), np.var(y, ddof=1)
        total = splits + images
        freedom = total**2 / (splits**2 / (count - 1) + images**2 / (sources - 1)) if total else 1
        found.append(_t(x, total, freedom, level))
    return max(found, key=lambda one: one["high"] - one["low"]) | {"p": max(one["p"] for one in found)}


def _t(x: Array, variance: float, freedom: float, level: float) -> dict[str, float]:
    mean, error = float(x.mean()), float(np.sqrt(variance))
    half = float(scipy.stats.t.ppf(0.5 + level / 2, freedom)) * error
    p = float(2 * scipy.stats.t.sf(abs(mean) / error, freedom)) if error else float(mean == 0)
    return {"low": mean - half, "high": mean + half, "p": p}


def draw(sources: NDArray[np.int64], resamples: int, seed: Sequence[int]) -> NDArray[np.float32]:
    """(B, N) how often each image is drawn when its source (N,) is; all sources are drawn with replacement."""
    count = int(sources.max()) + 1
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), resamples)
    return drawn.astype(np.float32)[:, sources]


def correlations(
    quality: ArrayLike, score: ArrayLike, weights: NDArray[np.float32], metric: str
) -> NDArray[np.float32]:
    """(B,) srcc or plcc of quality and score (N,), with image i counted ``weights[b, i]`` times; NaN if undefined."""
    x, y = (_ranks(v, weights) if metric == "srcc" else np.asarray(v, np.float32) for v in (quality, score))
    with np.errstate(invalid="ignore", divide="ignore"):  # nothing drawn, or constant
        total = weights.sum(axis=1, keepdims=True)
        x, y = (v - np.sum(weights * v, axis=1, keepdims=True) / total for v in (x, y))
        covariance, *variances = (np.einsum("bi,bi,bi->b", weights, *pair) for pair in ((x, y), (x, x), (y, y)))
        return covariance / np.sqrt(variances[0] * variances[1])


def _ranks(values: ArrayLike, weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """(B, N) middle ranks of the values (N,) that occur ``weights`` (B, N) times, up to a constant."""
    _, group = np.unique(np.asarray(values), return_inverse=True)
    order = np.argsort(group, kind="stable")
    starts = np.searchsorted(group[order], np.arange(group.max() + 1))
    occurs = np.add.reduceat(weights[:, order], starts, axis=1)
    return np.asarray(np.cumsum(occurs, axis=1) - occurs / 2, np.float32)[:, group]


def holm(p: Sequence[float]) -> list[float]:
    """Holm's step-down correction of a family of p values; NaN stays NaN and does not count."""
    values = np.asarray(p, float)
    out = np.full(len(values), np.nan)
    order = np.argsort(values, kind="stable")[: np.count_nonzero(np.isfinite(values))]  # NaN is sorted last
    out[order] = np.maximum.accumulate(np.minimum(1, values[order] * np.arange(len(order), 0, -1)))
    return out.tolist()
