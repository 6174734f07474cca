"""Put a trained checkpoint into the package: `python -m small.pack small-rated --cache FOLDER`."""

import argparse
from pathlib import Path

import torch

from grmp.clip import shipped
from small import lite
from small.train import PRESETS, SHAPE, export


def main() -> None:
    """Write grmp/clip/weights/<model>.safetensors from a checkpoint."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("model", choices=PRESETS)
    parser.add_argument("--cache", type=Path, required=True, help="folder of the checkpoint")
    parser.add_argument("--name", help="of the checkpoint [default: the model's]")
    parser.add_argument("--lite0", type=Path, help="EfficientNet-Lite0 weights (.pth) [default: the installed package]")
    parser.add_argument(
        "--into", type=Path, default=shipped.FOLDER, help="folder of the weights [default: the package's]"
    )
    given = parser.parse_args()
    state = torch.load(given.cache / f"{given.name or given.model}.pt", weights_only=False)
    tensors = export(state, lite.load(given.lite0).stem)
    shipped.pack(given.model, SHAPE, tensors, state["known"], given.into)
    size = sum(p.stat().st_size for p in given.into.iterdir()) / 1e6
    print(f"{given.model}: epoch {state['epoch']}, {len(tensors)} tensors; {given.into} now has {size:.1f} MB")


if __name__ == "__main__":
    main()
