"""`python -m bench.selection --biq2021 FOLDER --livec FOLDER`: do selected images train a better model than random ones?

Ten draws of 50 images by `grmp select` and at random, from LIVE Challenge and from the 1,000 photographs of BIQ2021's training
part that small-rated was not trained on. Ridge regression on the embeddings learns from each; images that are in neither are
ranked. bench/results/selection.csv has one row per draw. About a minute on two cores.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t

from grmp.files import write_text
from grmp.methods.ridge import Ridge, fit
from grmp.metrics import srcc
from grmp.use.select import choose, look
from small.evaluate import livec
from small.photographs import biq2021, held_out

RESULTS = Path(__file__).parent / "results"
LABELS, DRAWS = 50, 10
RIDGE = Ridge(kind="ridge", label="ridge", alphas=[1e-3, 1e-2, 0.1, 1.0, 10.0, 100.0])


def compare(name: str, embeddings: np.ndarray, predicted: np.ndarray, mos: np.ndarray) -> pd.DataFrame:
    """SRCC on images that are in neither choice, one row per draw."""
    rows, quality = [], (mos - mos.min()) / np.ptp(mos)
    for draw in range(DRAWS):
        chosen = {
            "selected": choose(embeddings, predicted, LABELS, draw),
            "random": np.random.default_rng(draw).permutation(len(mos))[:LABELS],
        }
        rest = np.setdiff1d(np.arange(len(mos)), np.concatenate(list(chosen.values())))
        row = {"images": name, "draw": draw, "zero_shot": srcc(quality[rest], predicted[rest])[0]}
        for how, some in chosen.items():
            weights, intercept = fit(embeddings[some].astype(float), quality[some], RIDGE)
            row[how] = srcc(quality[rest], embeddings[rest] @ weights + intercept)[0]
        rows.append(row)
    return pd.DataFrame(rows)


def table(found: pd.DataFrame) -> str:
    """Means over draws, and the mean difference with its 95 % interval (t), in Markdown."""
    lines = ["| 50 of | selected | random | selected minus random | zero-shot |", "|---|---|---|---|---|"]
    for name, part in found.groupby("images", sort=False):
        apart = part["selected"] - part["random"]
        half = t.ppf(0.975, len(apart) - 1) * apart.std() / np.sqrt(len(apart))
        middle = [f"{part[c].mean():.3f}" for c in ("selected", "random", "zero_shot")]
        gain = f"{apart.mean():+.3f} [{apart.mean() - half:+.3f}, {apart.mean() + half:+.3f}]"
        lines.append(f"| {name} | {middle[0]} | {middle[1]} | {gain} | {middle[2]} |")
    return "\n".join(lines)


def main() -> None:
    """Measure both databases."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--biq2021", type=Path, required=True)
    parser.add_argument("--livec", type=Path, required=True)
    given = parser.parse_args()
    whole = biq2021(given.biq2021, "train")
    rows = np.flatnonzero(held_out(len(whole.paths)))
    parts = {"LIVE Challenge": livec(given.livec), "BIQ2021": ([whole.paths[i] for i in rows], whole.mos[rows])}
    found = pd.concat([compare(name, *look(paths)[:2], mos) for name, (paths, mos) in parts.items()])
    write_text(RESULTS / "selection.csv", found.round(4).to_csv(index=False, lineterminator="\n"))
    print(table(found))


if __name__ == "__main__":
    main()
