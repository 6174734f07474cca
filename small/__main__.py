"""Rebuild the shipped CLIPs from BIQ2021: `make small-clip FROM=/path/to/BIQ2021`.

    features   EfficientNet-Lite0 on 10,000 photographs and their distorted versions; the longest step
    training   on the cached features, on the CPU
    packing    into grmp/clip/weights
    photo      the default scorer, from small-rated

An interrupted run continues where it stopped.
"""

import argparse
from pathlib import Path

import torch

from grmp.clip import shipped
from small import features, lite, packing, photo
from small.train import PRESETS, SHAPE, Data, Trainer, export


def main() -> None:
    """Compute the features, train the small CLIPs and put them into the package."""
    parser = argparse.ArgumentParser(prog="python -m small", description=main.__doc__)
    parser.add_argument("--from", dest="folder", type=Path, required=True, help="folder of BIQ2021")
    parser.add_argument(
        "--cache", type=Path, default=Path("small/cache"), help="features, checkpoints [default: small/cache]"
    )
    parser.add_argument(
        "--into", type=Path, default=shipped.FOLDER, help="folder of the weights [default: the package's]"
    )
    parser.add_argument("--lite0", type=Path, help="EfficientNet-Lite0 weights (.pth) [default: the installed package]")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads [default: 2]")
    given = parser.parse_args()
    torch.set_num_threads(given.threads)
    features.compute(given.folder, given.cache, given.lite0)
    data, stem = Data(given.cache, given.folder), lite.load(given.lite0).stem
    for name, settings in PRESETS.items():
        trainer = Trainer(name, settings, data, given.cache)
        trainer.run()
        packing.pack(name, SHAPE, export(trainer.state(), stem), trainer.captions.known, given.into)
        print(
            f"{name}: {trainer.history[-1]['srcc']:.3f} SRCC on held-out photographs, {trainer.seconds / 60:.0f} minutes"
        )
        if settings.rated:
            print(
                f"photo: {photo.build(trainer, stem, given.into)['held out']['srcc']:.3f} SRCC on held-out photographs"
            )


if __name__ == "__main__":
    main()
