"""`python -m bench.intervals --livec FOLDER --biq2021 FOLDER`: do the 90 % intervals of scores contain 90 % of ratings?

    photo               the shipped scorer on LIVE Challenge, which is another database with another scale
    50 ratings, ridge   what `grmp train --method ridge` stores after five folds over 50 images, tested on all other images

BIQ2021's official test part is not read. bench/results/intervals.csv; docs/score.md says what came out. About 3 minutes.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tqdm import tqdm

from bench.selection import RIDGE
from grmp.clip.model import pixels
from grmp.data.custom import folds
from grmp.data.scale import Scale
from grmp.files import write_text
from grmp.finetune.scorer import QualityModel, load
from grmp.finetune.trust import judge, measure
from grmp.methods.ridge import fit
from small.evaluate import livec
from small.photographs import biq2021

RESULTS = Path(__file__).parent / "results"
RATED, DRAWS, SOME = 50, 30, 1000
UNIT = Scale(0, 1, True)


@torch.inference_mode()
def embeddings(model: QualityModel, paths: list[Path]) -> np.ndarray:
    """(N, E) of image files."""
    found = []
    for path in tqdm(paths, "embeddings", mininterval=5):
        prepared = model.prepare(path)
        assert not isinstance(prepared, str), f"{path}: {prepared}"
        found.append(model.clip.image(pixels(torch.from_numpy(prepared), model.clip.shape)))
    return torch.cat(found).numpy().astype(np.float64)


def held(card: dict, scores: np.ndarray, quality: np.ndarray) -> tuple[float, float]:
    """Share of the ratings (N,) that the intervals of scores (N,) contain, and the mean width of an interval."""
    found = judge(card, UNIT, scores)
    return float(np.mean((found["low"] <= quality) & (quality <= found["high"]))), float(
        np.mean(found["high"] - found["low"])
    )


def predict(x: np.ndarray, quality: np.ndarray, rated: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """Scores of ``rows`` by ridge regression on ``rated``, as `grmp train --method ridge` fits it."""
    weights, intercept = fit(x[rated], quality[rated], RIDGE)
    return (x[rows] @ weights + intercept).clip(0, 1)


def few(x: np.ndarray, quality: np.ndarray) -> list[tuple[float, float]]:
    """Coverage and width after 50 ratings, in draws."""
    found = []
    for draw in range(DRAWS):
        order = np.random.default_rng(draw).permutation(len(x))
        rated, rest = order[:RATED], order[RATED:]
        index = pd.DataFrame({"image": rated.astype(str), "reference": None, "quality": quality[rated]})
        parts, apart = folds(index, 5, draw), np.empty(RATED)
        for fold in range(parts.count):
            test = parts.test(fold)
            apart[test] = predict(x, quality, rated[parts.train(fold, None)], rated[test])
        card = measure(quality[rated], apart, "")
        found.append(held(card, predict(x, quality, rated, rest), quality[rest]))
    return found


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--livec", type=Path, required=True, help="folder ChallengeDB_release")
    parser.add_argument("--biq2021", type=Path, required=True, help="folder of BIQ2021")
    given = parser.parse_args()
    photo, (paths, mos) = load(device="cpu"), livec(given.livec)
    train = biq2021(given.biq2021, "train")
    some = np.sort(np.random.default_rng(0).choice(len(train.paths), SOME, replace=False))
    found = {
        ("photo", "LIVE Challenge"): [held(photo.card, photo.score(paths), mos / 100)],
        ("50 ratings, ridge on small-rated", "LIVE Challenge"): few(
            embeddings(load("small-rated", "cpu"), paths), mos / 100
        ),
        ("50 ratings, ridge on small", "BIQ2021, training part"): few(
            embeddings(load("small", "cpu"), [train.paths[i] for i in some]), train.mos[some]
        ),
    }
    rows = []
    for (model, images), draws in found.items():
        covered, width = np.array(draws).T
        spread = {"lowest": covered.min(), "highest": covered.max()}
        rows.append(
            {
                "model": model,
                "images": images,
                "draws": len(draws),
                "covered": covered.mean(),
                **spread,
                "width": width.mean(),
            }
        )
    text = pd.DataFrame(rows).to_csv(index=False, float_format="%.3f", lineterminator="\n")
    write_text(RESULTS / "intervals.csv", text)
    print(text, end="")


if __name__ == "__main__":
    main()
