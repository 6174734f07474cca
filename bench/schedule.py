"""How the demo's learning rate and number of epochs were chosen: on a database that is for training, never on a target.

    cd demo && PYTHONPATH=.. ../.venv/bin/python -m bench.schedule random_prompts 1.0e-2,30 3.0e-2,30 1.0e-1,30

Prints, for each RATE,EPOCHS, the SRCC of two splits of sim_pre2 with 50 labels and the seconds a split took.
"""

import sys
import time
from pathlib import Path

import torch
from scipy.stats import spearmanr

from grmp import methods, params
from grmp.clip import checkpoints as backbone
from grmp.data import dataset as prepared
from grmp.data import splits
from grmp.methods.context import RunContext

DATABASE, SHOTS = "sim_pre2", 50


def main(method: str, *schedules: str) -> None:
    """Run the method under every schedule."""
    world = Path()
    loaded = params.load(world / "params.yaml")
    torch.set_num_threads(1)
    pictures = prepared.load(world / "data/prepared" / DATABASE)
    parts = splits.load(world / f"data/splits/{DATABASE}/sound.csv", pictures.index["image"])
    clip = backbone.load(world)
    for schedule in schedules:
        rate, epochs = schedule.split(",")
        adapt = loaded.adapt.model_copy(update={"learning_rate": float(rate), "epochs": int(epochs)})
        changed = loaded.model_copy(update={"adapt": adapt})
        case = RunContext(changed, world, pictures, pictures, parts, parts, SHOTS, clip, torch.device("cpu"))
        both, start = methods.prepare(case, method), time.perf_counter()
        found = [spearmanr(o.scores, case.quality[parts.test(i)])[0] for i, o in enumerate(both([0, 1]))]
        seconds = (time.perf_counter() - start) / len(found)
        print(
            f"{method} rate {rate} epochs {epochs}: SRCC {', '.join(f'{v:.3f}' for v in found)}; {seconds:.1f} s a split"
        )


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
