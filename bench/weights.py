"""`python -m bench.weights --livec FOLDER`: does it help that ratings are weighted by the spread of their raters?

100 draws of 50 photographs of LIVE Challenge. Of each three votes are drawn from a normal distribution with the published MOS
and standard deviation; ridge regression on the embeddings of small-rated learns from their means with and without
`grmp.data.ratings.weights`, and all other photographs are ranked. About a minute on two cores.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.io import loadmat

from bench.selection import RIDGE
from grmp.data import ratings
from grmp.files import write_text
from grmp.methods.ridge import fit
from grmp.metrics import corrected_t, srcc
from grmp.use.select import look
from small.evaluate import livec

RESULTS = Path(__file__).parent / "results"
LABELS, DRAWS, RATERS = 50, 100, 3


def compare(x: np.ndarray, mos: np.ndarray, deviation: np.ndarray) -> pd.DataFrame:
    """SRCC on the other photographs, one row per draw; ``mos`` and ``deviation`` (N,) from 0 to 100."""
    rows = []
    for draw in range(DRAWS):
        rng = np.random.default_rng(draw)
        some = rng.permutation(len(mos))[:LABELS]
        votes = rng.normal(mos[some], deviation[some], (RATERS, LABELS)).clip(0, 100) / 100
        weights = ratings.weights(pd.DataFrame({"mos_std": votes.std(axis=0, ddof=1), "raters": RATERS}))
        rest, row = np.setdiff1d(np.arange(len(mos)), some), {"draw": draw}
        for name, given in (("equal", None), ("weighted", weights)):
            slope, intercept = fit(x[some], votes.mean(axis=0), RIDGE, given)
            row[name] = srcc(mos[rest], x[rest] @ slope + intercept)[0]
        rows.append(row)
    return pd.DataFrame(rows)


def main() -> None:
    """Measure it."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--livec", type=Path, required=True)
    folder = parser.parse_args().livec
    paths, mos = livec(folder)
    known = [str(name[0]).lower() for name in loadmat(folder / "Data/AllImages_release.mat")["AllImages_release"][:, 0]]
    deviation = loadmat(folder / "Data/AllStdDev_release.mat")["AllStdDev_release"].ravel()
    deviation = deviation[[known.index(path.name.lower()) for path in paths]]
    found = compare(look(paths)[0].astype(float), mos, deviation)
    write_text(RESULTS / "weights.csv", found.round(4).to_csv(index=False, lineterminator="\n"))
    test = corrected_t(found["weighted"] - found["equal"], 0.95, 1 - LABELS / len(mos))
    gain = f"{(found['weighted'] - found['equal']).mean():+.4f} [{test['low']:+.4f}, {test['high']:+.4f}]"
    print(f"SRCC: equal {found['equal'].mean():.3f}, weighted {found['weighted'].mean():.3f}; difference {gain}")


if __name__ == "__main__":
    main()
