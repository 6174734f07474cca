"""The forms in which people have ratings: one per image, one per rater and image, or pairs "a is better than b"."""

from pathlib import Path

import numpy as np
import pandas as pd

from grmp.data import tables
from grmp.errors import UserError

LEAST = {"mos": -np.inf, "mos_std": 0, "raters": 1}
PRIOR = 4  # ratings for which the spread over all images stands, in the spread of one


def read(path: Path) -> pd.DataFrame:
    """The table ``path`` with one row per rated image: ``image``, ``mos`` and further columns; the index is its line, if any.

    Of these ``mos_std`` (or ``std``, ``sd``) is the standard deviation of the ratings of an image, ``raters`` their number, and
    ``reference`` the image's source. Rows without a rating are left out, and counted. With a column ``rater``, ``mos`` is the
    mean over raters and ``mos_std`` their standard deviation; a rater who rates an image repeatedly counts once. With the
    columns ``better`` and ``worse`` instead, ``mos`` is the score of the model of Bradley and Terry (1952).

    Raises UserError if the table cannot be used; the line names why.
    """
    found = tables.read(path, ("image", "mos"), ("better", "worse"))
    if {"better", "worse"} <= set(found):
        return _of_pairs(path, found)
    empty = found["mos"] == ""
    if empty.any():
        print(f"{path}: {empty.sum()} of {len(found)} rows have no rating yet and are left out")
    text = found[~empty].rename(columns={"std": "mos_std", "sd": "mos_std"})
    if again := {"reference", "rater", *LEAST} & {*text.columns[text.columns.duplicated()]}:
        raise UserError(f"{path} has the column '{min(again)}' twice, perhaps under two names")
    found = text.copy()
    for name in sorted(LEAST.keys() & set(text)) if "mos_std" in text and "rater" not in text else ["mos"]:
        given = text[text[name] != ""] if name == "mos_std" else text  # no spread: one rating
        found[name] = tables.numbers(path, given, name)
        tables.refuse(path, found[name] < LEAST[name], f"'{name}' is below {LEAST[name]}", found[name])
    tables.refuse(path, found["image"] == "", "has no image name")
    if "rater" not in found:
        return found
    tables.refuse(path, found["rater"] == "", "has no rater")
    by_rater = found.groupby(["image", "rater"], sort=True)["mos"].mean()
    votes = by_rater.groupby("image").agg(["mean", "std", "size"])
    if "reference" in found:
        given = found["reference"].where(found["reference"] != "").groupby(found["image"])
        tables.refuse(path, found["image"].map(given.nunique()) > 1, "gives an image a second reference")
        votes["reference"] = given.first().fillna("")
    print(f"{path}: {len(by_rater)} ratings of {len(votes)} images by {found['rater'].nunique()} raters")
    return votes.rename(columns={"mean": "mos", "std": "mos_std", "size": "raters"}).reset_index()


def weights(table: pd.DataFrame) -> np.ndarray | None:
    """(N,) weights of mean ratings, 1 on average; None if nothing is known of their spread.

    The inverse of a variance, v + mean(v), where v is that of a mean rating and its mean over images stands for the error of
    a model: v = ``mos_std``^2 or, where the number of ``raters`` is known, that over it. Few raters say little about their
    spread: the variance over all images counts as ``PRIOR`` ratings of each. An image without ``mos_std`` counts as rated once
    or, where no numbers are known, as having the mean of v.
    """
    if "mos_std" not in table or not table["mos_std"].max() > 0:
        return None
    v = table["mos_std"].to_numpy(float) ** 2
    count = table["raters"].to_numpy(float).clip(1) if "raters" in table else np.ones(len(v))
    count[np.isnan(v)] = 1
    v[np.isnan(v)] = np.nanmean(v)
    if count.max() > 1:
        v = ((count - 1) * v + PRIOR * np.average(v, weights=count - 1)) / (count - 1 + PRIOR) / count
    found = 1 / (v + v.mean())
    return np.asarray(found / found.mean())


def _of_pairs(path: Path, pairs: pd.DataFrame) -> pd.DataFrame:
    """Scores from comparisons by logistic regression; its penalty keeps an image that always wins at a finite score."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components
    from sklearn.linear_model import LogisticRegression

    if pairs.empty:
        raise UserError(f"{path} has no comparisons")
    tables.refuse(path, (pairs[["better", "worse"]] == "").any(axis=1), "has no image name")
    tables.refuse(path, pairs["better"] == pairs["worse"], "compares an image with itself")
    names = sorted({*pairs["better"], *pairs["worse"]})
    better, worse = (pd.Index(names).get_indexer(pairs[side]) for side in ("better", "worse"))
    links = coo_array((np.ones(len(pairs)), (better, worse)), (len(names),) * 2)
    parts, part = connected_components(links, directed=False)
    if parts > 1:
        one, other = names[int(np.argmax(part == 0))], names[int(np.argmax(part == 1))]
        raise UserError(f"{path}: nothing links {one} to {other}; compare images of the {parts} separate groups")
    won = np.zeros((len(pairs), len(names)))
    won[np.arange(len(pairs)), better], won[np.arange(len(pairs)), worse] = 1, -1
    outcome = np.repeat([1, 0], len(pairs))
    fitted = LogisticRegression(fit_intercept=False).fit(np.vstack([won, -won]), outcome)
    print(f"{path}: {len(pairs)} comparisons of {len(names)} images")
    table = pd.DataFrame({"image": names, "mos": fitted.coef_[0]})
    table.attrs["comparisons"] = True  # they fit no rating scale
    return table
