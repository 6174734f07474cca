"""`python -m bench false_positives`: how often each rule calls two equally good predictors different, at a nominal 5 %.

    python -m bench false_positives [--worlds 400] [--out bench/results]

In every world, two predictors of the same quality in the population are compared on random splits of one database. The interval
over splits, a percentile bootstrap, is about these images alone: its column shows what happens to a reader who takes it for an
answer on other images. ``noise``: of training, anew in every split. ``runs``: of pre-training, which splits share in turn; each
degrades a predictor by a random amount, which only ``two_way`` accounts for. Takes about 15 minutes on one core.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd

from grmp.metrics import corrected_t, correlations, draw, interval, two_way
from grmp.report.pairs import RESAMPLES

TEST, LEVEL = 0.2, 0.95
WORLDS = (  # images, sources (as many: every image its own), splits, noise of training, runs of pre-training
    (1162, 1162, 10, 0.0, 0),
    (1162, 1162, 10, 0.6, 0),
    (1162, 1162, 5, 0.0, 0),
    (780, 26, 10, 0.0, 0),
    (780, 26, 5, 0.6, 0),
    (300, 300, 5, 0.6, 0),
    (1162, 1162, 10, 0.0, 3),
    (1162, 1162, 10, 0.6, 3),
    (300, 300, 5, 0.6, 3),
)


def world(
    images: int, sources: int, splits: int, noise: float, runs: int, seed: list[int]
) -> tuple[np.ndarray, np.ndarray]:
    """(splits,) differences of SRCC, and (RESAMPLES,) their means with images drawn anew."""
    rng = np.random.default_rng(seed)
    source = np.arange(images) % sources
    quality = rng.normal(size=images)
    effects = 0.6 * rng.normal(size=(2, sources)), 0.6 * rng.normal(size=(2, images))
    scores = quality + effects[0][:, source] + effects[1]
    weights = draw(source, RESAMPLES, seed)
    differences, resampled = [], []
    starts = 0.6 * np.abs(rng.normal(size=(2, runs, 1))) * rng.normal(size=(2, runs, images))
    for split in range(splits):
        test = np.isin(source, rng.permutation(sources)[: round(TEST * sources)])
        trained = scores + noise * np.abs(rng.normal(size=(2, 1))) * rng.normal(size=scores.shape)
        trained += starts[:, split % runs] if runs else 0
        drawn = [correlations(quality[test], one[test], weights[:, test], "srcc") for one in trained]
        once = np.ones((1, int(test.sum())), np.float32)
        a, b = (float(correlations(quality[test], one[test], once, "srcc")[0]) for one in trained)
        differences.append(a - b)
        resampled.append(drawn[0] - drawn[1])
    return np.array(differences), pd.DataFrame(resampled).mean().to_numpy()


def main(arguments: list[str]) -> None:
    """Simulate, print, write the csv."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent / "results")
    given = parser.parse_args(arguments)
    rows = []
    for number, (images, sources, splits, noise, runs) in enumerate(WORLDS):
        called = dict.fromkeys(("over_splits", "two_way", "corrected_t"), 0)
        for seed in range(given.worlds):
            differences, resampled = world(images, sources, splits, noise, runs, [number, seed])
            over = interval(differences, LEVEL, 1000, seed)
            called["over_splits"] += over["mean_low"] > 0 or over["mean_high"] < 0
            called["two_way"] += two_way(differences, resampled, sources, LEVEL, runs)["p"] < 1 - LEVEL
            called["corrected_t"] += corrected_t(differences, LEVEL, TEST)["p"] < 1 - LEVEL
        shares = {rule: count / given.worlds for rule, count in called.items()}
        rows.append(
            {"images": images, "sources": sources, "splits": splits, "noise": noise, "runs": runs}
            | {"worlds": given.worlds}
            | shares
        )
        print(pd.DataFrame(rows[-1:]).to_string(index=False, header=number == 0), flush=True)
    given.out.mkdir(exist_ok=True, parents=True)
    pd.DataFrame(rows).to_csv(given.out / "false_positives.csv", index=False, float_format="%.4f", lineterminator="\n")
    print(f"written: {given.out / 'false_positives.csv'}")
