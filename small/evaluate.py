"""Evaluate a model as it is shipped: `python -m small.evaluate photo --biq2021 FOLDER --livec FOLDER`.

SRCC and PLCC (of the CLIPs: zero-shot) with 95 % bootstrap intervals on LIVE Challenge and BIQ2021's official test part,
and how often the score falls when a photograph is distorted more. The test part is read once for each final model.
"""

import argparse
import json
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import torch
from scipy.io import loadmat
from scipy.stats import pearsonr, spearmanr
from tqdm import tqdm

from grmp.clip import model as clip
from grmp.clip import shipped
from grmp.data.simulated.distortions import LEVELS, distort
from grmp.finetune import scorer
from small.captions import ZERO_SHOT
from small.features import crop
from small.photographs import biq2021, read, shrink

RESAMPLES = 1000
KINDS = ("gaussian_blur", "white_noise", "jpeg")
CLEAN = 40  # best-rated photographs of BIQ2021's training part that are distorted


class Score:
    """Log-odds of the better quality."""

    def __init__(self, name: str) -> None:  # noqa: D107
        if name == shipped.SCORER:
            self.model = scorer.photo()
        else:
            backbone = shipped.load(name)
            self.model = scorer.QualityModel.of(backbone.weights, backbone.shape, clip.tokenize(ZERO_SHOT))

    @torch.inference_mode()
    def __call__(self, images: Iterable[np.ndarray]) -> np.ndarray:
        """(B,) scores of images (H, W, 3) uint8, by their centre crop."""
        crops = np.stack([crop(shrink(image), None) for image in images])
        x = clip.pixels(torch.from_numpy(crops).permute(0, 3, 1, 2), self.model.clip.shape)
        return self.model.logit(x).numpy()


def scores(score: Score, paths: list[Path], what: str) -> np.ndarray:
    """(N,) scores of files."""
    parts = [paths[i : i + 32] for i in range(0, len(paths), 32)]
    return np.concatenate([score([read(p) for p in part]) for part in tqdm(parts, what, mininterval=5)])


def plcc(score: np.ndarray, mos: np.ndarray) -> float:
    """Pearson's correlation of the probability of the better text with MOS; no curve is fitted."""
    return float(pearsonr(1 / (1 + np.exp(-score)), mos)[0])


def interval(statistic: Callable[[np.ndarray, np.ndarray], float], score: np.ndarray, mos: np.ndarray) -> list[float]:
    """[value, low, high] with a 95 % bootstrap interval over images."""
    rng = np.random.default_rng(0)
    draws = [rng.integers(0, len(mos), len(mos)) for _ in range(RESAMPLES)]
    low, high = np.quantile([statistic(score[d], mos[d]) for d in draws], [0.025, 0.975])
    return [round(float(v), 4) for v in (statistic(score, mos), low, high)]


def srcc(score: np.ndarray, mos: np.ndarray) -> float:
    """Spearman's rank correlation."""
    return float(spearmanr(score, mos)[0])


def livec(folder: Path) -> tuple[list[Path], np.ndarray]:
    """Those photographs of LIVE Challenge that are there, without the seven training images, and their MOS."""
    names = [str(n[0]) for n in loadmat(folder / "Data/AllImages_release.mat")["AllImages_release"][:, 0]]
    mos = loadmat(folder / "Data/AllMOS_release.mat")["AllMOS_release"].ravel()
    by_name = {p.name.lower(): p for p in sorted((folder / "Images").iterdir()) if p.is_file()}
    rows = [i for i in range(7, len(names)) if names[i].lower() in by_name]
    return [by_name[names[i].lower()] for i in rows], mos[rows].astype(float)


def agreement(score: Score, folder: Path) -> dict[str, float]:
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
    score, out = Score(name), {}
    if challenge:
        paths, mos = livec(challenge)
        of = scores(score, paths, "LIVE Challenge")
        out["LIVE Challenge"] = {"images": len(mos), "srcc": interval(srcc, of, mos), "plcc": interval(plcc, of, mos)}
    if biq:
        out["pairs of levels"] = agreement(score, biq)
        if read_test:
            test = biq2021(biq, "test")
            of = scores(score, test.paths, "BIQ2021, test part")
            out["BIQ2021 test"] = {
                "images": len(of),
                "srcc": interval(srcc, of, test.mos),
                "plcc": interval(plcc, of, test.mos),
            }
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
