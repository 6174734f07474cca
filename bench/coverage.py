"""`python -m bench.coverage`: does the interval of `grmp train` hold what it says?

    python -m bench.coverage [--root demo] [--database sim_wild] [--images 50] [--draws 30] [--methods grmp zero_shot ridge]

Draws "rated images" from a prepared database repeatedly. Cross-validation on them states an SRCC and its 95 % interval;
the model that learned from all of them is then scored on every other image of the database, which is not possible in practice.
bench/results/coverage.csv has a row a draw and method; docs/custom.md says what came out. About 15 minutes after `make demo`.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import binomtest
from tqdm import tqdm

from grmp import methods
from grmp.data import dataset as prepared
from grmp.data.custom import folds
from grmp.data.dataset import Dataset, source_ids
from grmp.data.splits import Splits
from grmp.experiments import crossval as train
from grmp.files import claim, write_text
from grmp.metrics import srcc
from grmp.params import Params, load

RESULTS = Path(__file__).parent / "results"
FOLDS = 5


def draw(params: Params, world: Path, whole: Dataset, rows: np.ndarray, names: list[str]) -> pd.DataFrame:
    """One draw: a row a method with what cross-validation says of ``rows``, and the true value on all images of other sources.

    The same for the gains of the first method over the others.
    """
    index = whole.index.iloc[rows].reset_index(drop=True)
    rated = Dataset(train.NAME, index, np.array(whole.images[rows]), {})
    start = train.begin(params, world, rated, folds(index, FOLDS, params.splits.seed))
    of = source_ids(whole.index)
    ranks = np.where(np.isin(of, of[rows]), -2, -1)[None]
    ranks[0, rows] = np.arange(len(rows))
    rest = Splits(ranks).test(0)
    scores, truth = {}, {}
    for name in names:
        case = train.context_of(start, name)
        with tempfile.TemporaryDirectory() as place:
            scores[name], *_ = train.out_of_fold(case, name, Path(place))
        case = replace(case, source=whole, target=whole, splits=Splits(ranks), tested=Splits(ranks))
        (found,) = methods.prepare(case, name)([0])
        assert not found.failure, found.failure
        truth[name] = srcc(whole.index["quality"].to_numpy()[rest], found.scores)[0]
    told = train.compare(index, scores, names[0], params)
    alone = told[["srcc", "low", "high"]].assign(truth=pd.Series(truth)).rename_axis("what")
    gains = told[["gain", "gain_low", "gain_high"]].drop(index=names[0]).set_axis(["srcc", "low", "high"], axis=1)
    gains = gains.assign(truth=truth[names[0]] - pd.Series(truth)).rename(index=lambda name: f"{names[0]} - {name}")
    return pd.concat([alone, gains]).rename_axis("what").reset_index()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, default=Path("demo"))
    parser.add_argument("--database", default="sim_wild")
    parser.add_argument("--images", type=int, default=50)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--methods", nargs="+", default=["grmp", "zero_shot", "ridge"])
    parser.add_argument("--out", type=Path, default=RESULTS / "coverage.csv")
    given = parser.parse_args()
    params, whole = load(given.root / "params.yaml"), prepared.load(given.root / "data/prepared" / given.database)
    claim(given.out)
    parts = []
    for number in tqdm(range(given.draws), unit="draw"):
        rows = np.sort(np.random.default_rng(number).choice(len(whole.index), given.images, replace=False))
        parts.append(draw(params, given.root, whole, rows, given.methods).assign(draw=number))
    table = pd.concat(parts)
    write_text(given.out, table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    print(summary(table).to_string(index=False, float_format="%.3f"))


def summary(table: pd.DataFrame) -> pd.DataFrame:
    """What was stated and what was true in the mean, the difference's standard error, and how often the interval held."""
    rows = []
    for what, of in table.groupby("what", sort=False):
        held = int(of["truth"].between(of["low"], of["high"]).sum())
        ends = binomtest(held, len(of)).proportion_ci()
        error = (of["srcc"] - of["truth"]).sem()
        row = {"what": what, "stated": of["srcc"].mean(), "true": of["truth"].mean(), "error": error}
        rows.append(row | {"held": f"{held} of {len(of)} [{ends.low:.0%}, {ends.high:.0%}]"})
    return pd.DataFrame(rows)


if __name__ == "__main__":
    main()
