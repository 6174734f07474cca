"""Evaluate a model as it is shipped: `python -m small.evaluate photo --biq2021 FOLDER --livec FOLDER`.

SRCC and PLCC (of the CLIPs: zero-shot) with 95 % bootstrap intervals on LIVE Challenge and BIQ2021's official test part,
and how often the score falls when a photograph is distorted more. The test part is read once for each final model.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from scipy.io import loadmat
from scipy.stats import pearsonr, spearmanr
from tqdm import tqdm

from grmp.data.simulated.distortions import LEVELS, distort
from grmp.finetune import scorer
from grmp.metrics import bootstrap
from small.photographs import biq2021, held_out, read

RESAMPLES = 1000
KINDS = ("gaussian_blur", "white_noise", "jpeg")
CLEAN = 40  # best-rated photographs of BIQ2021's training part that are distorted


Scores = Callable[[Sequence[Path | np.ndarray]], np.ndarray]  # of a model, in [0, 1]


def measured(score: np.ndarray, mos: np.ndarray) -> dict[str, object]:
    """SRCC and PLCC with 95 % bootstrap intervals over images: [value, low, high]; no curve is fitted."""
    found: dict[str, object] = {"images": len(mos)}
    for name, statistic in (("srcc", spearmanr), ("plcc", pearsonr)):

        def of(rows: np.ndarray, statistic: Callable[..., Sequence[float]] = statistic) -> float:
            return float(statistic(score[rows], mos[rows])[0])

        rows = np.arange(len(mos))
        ends = bootstrap((rows,), of, 0.95, RESAMPLES, seed=0)
        found[name] = [round(float(v), 4) for v in (of(rows), *ends)]
    return found


def livec(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Those photographs of LIVE Challenge that are there, without the seven training images, and their MOS."""
    names = [str(n[0]) for n in loadmat(folder / "Data/AllImages_release.mat")["AllImages_release"][:, 0]]
    mos = loadmat(folder / "Data/AllMOS_release.mat")["AllMOS_release"].ravel()
    by_name = {p.name.lower(): p for p in sorted((folder / "Images").iterdir()) if p.is_file()}
    rows = [i for i in range(7, len(names)) if names[i].lower() in by_name]
    return [by_name[names[i].lower()] for i in rows], mos[rows].astype(float)


def agreement(score: Scores, folder: Path) -> dict[str, float]:
    """Share of pairs of levels (clean and 1 to 5) of KADID-10k's distortions where the heavier one scores lower."""
    photographs = biq2021(folder, "train")
    paths = [photographs.paths[i] for i in np.argsort(-photographs.mos, kind="stable")[:CLEAN]]
    right: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for path in tqdm(paths, "levels", mininterval=5):
        image = read(path)
        for kind in KINDS:
            of = score([image, *(distort(image, kind, level, seed=0) for level in LEVELS)])
            right[kind] += [float(of[a] > of[b]) for a in range(len(of)) for b in range(a + 1, len(of))]
    return {kind: round(float(np.mean(r)), 4) for kind, r in right.items()}


def evaluate(name: str, biq: Path | None, challenge: Path | None, read_test: bool) -> dict[str, object]:
    """All measurements that the folders allow."""
    score, out = scorer.load(name, "cpu").score, dict[str, object]()
    if challenge:
        paths, mos = livec(challenge)
        out["LIVE Challenge"] = measured(score(paths), mos)
    if biq:
        train = biq2021(biq, "train")
        rows = np.flatnonzero(held_out(len(train.paths)))
        out["BIQ2021 held out"] = measured(score([train.paths[i] for i in rows]), train.mos[rows])
        out["pairs of levels"] = agreement(score, biq)
        if read_test:
            test = biq2021(biq, "test")
            out["BIQ2021 test"] = measured(score(test.paths), test.mos)
    return out


def main() -> None:
    """Evaluate a shipped model."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", help="a shipped model")
    parser.add_argument("--biq2021", type=Path, help="folder of BIQ2021")
    parser.add_argument("--livec", type=Path, help="folder ChallengeDB_release")
    parser.add_argument("--test", action="store_true", help="read BIQ2021's official test part, too")
    given = parser.parse_args()
    print(json.dumps(evaluate(given.model, given.biq2021, given.livec, given.test), indent=1))


if __name__ == "__main__":
    main()
