"""Put meta-learned prompts into the package: `python -m small.prompts small real/livec`.

The pipeline folder has made them with `dvc repro pretrain@fomaml` and the CLIP named first as its backbone. Those of its
first run are kept.
"""

import sys
from pathlib import Path

from grmp.clip import checkpoints, shipped
from small import packing

VARIANT = "fomaml"


def put(name: str, pipeline: Path, folder: Path = shipped.FOLDER) -> None:
    """Prompts that were trained on the backbone of a pipeline, as prompts of the shipped CLIP that it is a copy of."""
    remedy, clip = f"run there: dvc repro pretrain@{VARIANT}", shipped.load(name, folder)
    learned, card = checkpoints.read(pipeline / f"models/prompts/{VARIANT}.safetensors", remedy)
    backbone = checkpoints.load(pipeline)
    same = clip.weights.keys() == backbone.weights.keys() and all(
        t.equal(backbone.weights[n]) for n, t in clip.weights.items()
    )
    if not same or card["backbone"] != backbone.sha256:
        raise SystemExit(f"error: {pipeline} has not learned its prompts on {name}")
    first = {n: t for n, t in learned.items() if "/" not in n}
    packing.write(f"{name}/{VARIANT}", first, {**card, "backbone": clip.sha256}, folder)


if __name__ == "__main__":
    put(sys.argv[1], Path(sys.argv[2]))
