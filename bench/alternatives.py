"""`python -m bench.alternatives LIVEC BIQ2021`: images per second of `grmp score` next to what a user could run instead.

    python -m bench.alternatives .../ChallengeDB_release/Images .../BIQ2021 [--images 1000] [--block 50]

Every scorer gets the same photographs (of BIQ2021 those of its training part), reads them with `grmp.data.decode`, and scores
one image per thread, as `grmp score` does. They take turns on blocks of images, so that the load of the machine meets all of
them; ratios are those of a block: their median, and the 2.5 % and 97.5 % points of the bootstrapped median. Written to
bench/results/alternatives.csv and .png.

open_clip's ViT-B/16 and piq's (0.8.0) CLIP-IQA and BRISQUE have seeded weights, since theirs cannot be downloaded everywhere:
that changes scores, not time. piq is optional (`pip install --no-deps piq`).
"""

import argparse
import importlib
import importlib.util
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from PIL import Image
from tqdm import tqdm

from bench import draw
from bench.measure import machine
from grmp.data.decode import fit, load
from grmp.device import cpus
from grmp.finetune import scorer

RESULTS = Path(__file__).parent / "results"
Score = Callable[[Path], Any]
OURS = "grmp score"


def ours() -> Score:
    model = scorer.load("photo", "cpu")
    return lambda path: next(model.rate([path]))


def pixels(image: Image.Image, size: int | None) -> torch.Tensor:
    array = np.asarray(image).transpose(2, 0, 1) if size is None else fit(image, size, "keep")
    return torch.from_numpy(array.copy())[None] / 255


def vit() -> Score:
    """open_clip's ViT-B/16 against two texts, without the trick of a prompted or cut tower."""
    import open_clip

    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-16-quickgelu").eval()
    tokens = open_clip.get_tokenizer("ViT-B-16-quickgelu")(["a photo with high quality.", "a photo with low quality."])
    text = model.encode_text(tokens, normalize=True)
    mean, std = (torch.tensor(v).view(3, 1, 1) for v in (open_clip.OPENAI_DATASET_MEAN, open_clip.OPENAI_DATASET_STD))

    def score(path: Path) -> torch.Tensor:
        x = (pixels(load(path, displayed=True), 224) - mean) / std
        return (model.logit_scale.exp() * model.encode_image(x, normalize=True) @ text.T).softmax(-1)[:, 0]

    return score


def clip_iqa() -> Score:
    """piq's CLIP-IQA: a CLIP ResNet-50 on the image at its own size."""
    import open_clip
    from piq import clip_iqa
    from piq.feature_extractors import clip

    torch.manual_seed(0)
    heads = {"transformer_width": 512, "transformer_heads": 8, "transformer_layers": 12}
    clip_iqa.clip.load = lambda: clip.CLIP(1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, **heads)
    clip_iqa.download_tensor = lambda *_: open_clip.tokenize(["Good photo.", "Bad photo."])
    metric = clip_iqa.CLIPIQA()
    return lambda path: metric(pixels(load(path, displayed=True), None))


def brisque() -> Score:
    """piq's BRISQUE at its own size."""
    brisque = importlib.import_module("piq.brisque")  # the package has a function of this name
    machine = torch.rand(774, 1), torch.rand(774, 36)
    brisque.load_url = lambda *_, **__: tuple(part.clone() for part in machine)
    return lambda path: brisque.brisque(pixels(load(path, displayed=True), None))


def decode() -> Score:
    return lambda path: load(path, displayed=True)


SCORERS = {
    OURS: ours,
    "open_clip ViT-B/16": vit,
    "CLIP-IQA (piq)": clip_iqa,
    "BRISQUE (piq)": brisque,
    "decoding": decode,
}


def photographs(folder: Path) -> list[Path]:
    """The images of a folder; of BIQ2021 those of its training part."""
    table = folder / "Train (Images and MOS).csv"
    if not table.is_file():
        return sorted(p for p in folder.iterdir() if p.suffix.lower() in (".jpg", ".bmp"))
    files = {p.name.lower(): p for p in (folder / "Images").iterdir()}
    return sorted(files[name.lower()] for name in pd.read_csv(table)["Image Name"])


@torch.no_grad()
def measure(paths: list[Path], block: int) -> pd.DataFrame:
    """Wall and processor seconds of each scorer on each block of images."""
    names = [name for name in SCORERS if importlib.util.find_spec("piq") or "piq" not in name]
    scorers, rows = {name: SCORERS[name]() for name in names}, []
    with ThreadPoolExecutor(cpus(), initializer=torch.set_grad_enabled, initargs=(False,)) as pool:
        for score in scorers.values():  # warm
            list(pool.map(score, paths[: 2 * cpus()]))
        for start in tqdm(range(0, len(paths), block), unit="block"):
            for name, score in scorers.items():
                begun, used = time.perf_counter(), time.process_time()
                list(pool.map(score, paths[start : start + block]))
                seconds, used = time.perf_counter() - begun, time.process_time() - used
                count = len(paths[start : start + block])
                rows.append({"scorer": name, "block": start, "images": count, "seconds": seconds, "cpu_seconds": used})
    return pd.DataFrame(rows)


def summary(blocks: pd.DataFrame) -> pd.DataFrame:
    """One row a scorer: images per second, and how many times as long as `grmp score` it takes."""
    wide, rng, rows = blocks.pivot(index="block", columns="scorer"), np.random.default_rng(0), []
    for name in blocks["scorer"].unique():
        part = blocks[blocks["scorer"] == name]
        row = {"scorer": name, "images": part["images"].sum()}
        for column, label in (("seconds", ""), ("cpu_seconds", "cpu_")):
            ratios = (wide[column][name] / wide[column][OURS]).to_numpy()
            drawn = np.median(rng.choice(ratios, (2000, len(ratios))), axis=1)
            row |= {f"{label}ratio": np.median(ratios)}
            row |= dict(
                zip((f"{label}ratio_low", f"{label}ratio_high"), np.quantile(drawn, [0.025, 0.975]), strict=True)
            )
        row["images_per_second"] = part["images"].sum() / part["seconds"].sum()
        row["cpu_ms_per_image"] = 1000 * part["cpu_seconds"].sum() / part["images"].sum()
        rows.append(row)
    return pd.DataFrame(rows)


def main(arguments: list[str]) -> None:
    """Measure, print, write the csv and the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--block", type=int, default=50)
    parser.add_argument("--out", type=Path, default=RESULTS)
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    paths = []
    for folder in given.folders:  # equally many of each, evenly spaced
        found = photographs(folder)
        count = min(len(found), given.images // len(given.folders))
        paths += [found[i] for i in np.linspace(0, len(found) - 1, count).astype(int)]
    np.random.default_rng(0).shuffle(paths)  # blocks alike
    before = os.getloadavg()[0]
    table = summary(measure(paths, given.block))
    table = table.assign(
        threads=cpus(), load=f"{before:.1f} to {os.getloadavg()[0]:.1f}", machine=machine(torch.device("cpu"))
    )
    given.out.mkdir(exist_ok=True, parents=True)
    table.to_csv(given.out / "alternatives.csv", index=False, float_format="%.4g", lineterminator="\n")
    draw.alternatives(table, given.out / "alternatives.png")
    print(table.drop(columns="machine").to_string(index=False))


if __name__ == "__main__":
    main(sys.argv[1:])
