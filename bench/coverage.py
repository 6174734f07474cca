"""`python -m bench.coverage`: does the interval of `grmp train` hold what it says?

    python -m bench.coverage [--world demo] [--database sim_wild] [--pictures 50] [--draws 30] [--methods grmp zero_shot ridge]

Draws "rated pictures" from a prepared database again and again. Cross-validation on them states an SRCC and its 95 % interval;
the model that learned from all of them is then scored on every other picture of the database, which nobody has in practice.
bench/results/coverage.csv has a row a draw and method; docs/own.md says what came out. About 15 minutes after `make demo`.
"""

import argparse
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from grmp import methods, train
from grmp.adapt import Outcome
from grmp.databases import prepared
from grmp.databases.prepared import Prepared
from grmp.databases.splits import Splits
from grmp.evaluate import srcc
from grmp.files import write_text
from grmp.params import Params, load

RESULTS = Path(__file__).parent / "results"
FOLDS = 5


def draw(params: Params, world: Path, whole: Prepared, rows: np.ndarray, names: list[str]) -> pd.DataFrame:
    """One draw: a row a method with what cross-validation says of ``rows``, and the truth on all others."""
    index = whole.index.iloc[rows].reset_index(drop=True)
    rated = Prepared(train.NAME, index, np.array(whole.images[rows]), {})
    ranks = np.full((1, len(whole.index)), -1)
    ranks[0, rows] = np.arange(len(rows))
    rest = np.flatnonzero(ranks[0] < 0)
    scores, truth = {}, {}
    for name in names:
        case = train.case_of(params, world, rated, name, FOLDS)
        with tempfile.TemporaryDirectory() as place:
            scores[name] = train.out_of_fold(case, name, Path(place))
        case = replace(case, source=whole, target=whole, splits=Splits(ranks), tested=Splits(ranks))
        (found,) = methods.prepare(case, name)([0])
        assert isinstance(found, Outcome)
        truth[name] = srcc(whole.index["quality"].to_numpy()[rest], found.scores)[0]
    told = train.compare(index, scores, names[0], params)[["srcc", "low", "high"]]
    return told.assign(truth=pd.Series(truth)).reset_index()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--world", type=Path, default=Path("demo"))
    parser.add_argument("--database", default="sim_wild")
    parser.add_argument("--pictures", type=int, default=50)
    parser.add_argument("--draws", type=int, default=30)
    parser.add_argument("--methods", nargs="+", default=["grmp", "zero_shot", "ridge"])
    given = parser.parse_args()
    params, whole = load(given.world / "params.yaml"), prepared.load(given.world / "data/prepared" / given.database)
    parts = []
    for number in tqdm(range(given.draws), unit="draw"):
        rows = np.sort(np.random.default_rng(number).choice(len(whole.index), given.pictures, replace=False))
        parts.append(draw(params, given.world, whole, rows, given.methods).assign(draw=number))
    table = pd.concat(parts)
    write_text(RESULTS / "coverage.csv", table.to_csv(index=False, float_format="%.4f", lineterminator="\n"))
    held = table["truth"].between(table["low"], table["high"])
    shown = table.assign(held=held).groupby("method", sort=False).agg({"srcc": "mean", "truth": "mean", "held": "sum"})
    print(shown.assign(draws=given.draws).to_string(float_format="%.3f"))


if __name__ == "__main__":
    main()
