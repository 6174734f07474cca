"""How the learning rate of the small CLIPs was chosen: on sim_pre2, a database of pre-training.

The script that chose epochs and tuned blocks on 600 photographs of BIQ2021's training part was not kept; this one can repeat
such a choice. docs/study.md says what else was known at the time: the learning rate was chosen after another one had been
tried on LIVE Challenge, and the splits of real/biq2021 contain those 600 photographs.

    cd demo && PYTHONPATH=.. ../.venv/bin/python -m bench.schedule sim_pre2 random_prompts 1.0e-2,30,1 1.0e-1,30,1
    cd real/biq2021 && PYTHONPATH=../.. ../../.venv/bin/python -m bench.schedule biq2021 last_blocks 1.0e-2,30,1

Prints, for each RATE,EPOCHS,BLOCKS, the SRCC of five splits with 50 labels. Of a database with an official split only the
training part is read.
"""

import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr

from grmp import methods, params
from grmp.clip import checkpoints
from grmp.data import dataset, splits
from grmp.finetune import feature_cache
from grmp.methods.context import RunContext

SHOTS, SPLITS = 50, 5


def main(database: str, method: str, *schedules: str) -> None:
    """Run the method under every schedule."""
    root = Path()
    loaded = params.load(root / "params.yaml")
    torch.set_num_threads(1)
    data = dataset.load(root / "data/prepared" / database)
    official, left_out = root / f"data/splits/{database}/official.csv", list[str]()
    if official.is_file():
        table = pd.read_csv(official, dtype=str)
        left_out = table.loc[table["split_0"] == splits.TEST, "image"].tolist()
    ranks = np.full((SPLITS, len(data.index)), -2)
    studied = ~data.index["image"].isin(left_out)
    sources = dataset.source_ids(data.index[studied])
    for number in range(SPLITS):
        ranks[number, studied] = splits.draw(sources, 0.2, np.random.default_rng([loaded.splits.seed, number]))
    parts = splits.Splits(ranks)
    for schedule in schedules:
        rate, epochs, blocks = schedule.split(",")
        changes = {"learning_rate": float(rate), "epochs": int(epochs), "tuned_blocks": int(blocks)}
        changed = loaded.model_copy(update={"adapt": loaded.adapt.model_copy(update=changes)})
        backbone = checkpoints.load(root)
        ctx = RunContext(changed, root, data, data, parts, parts, SHOTS, backbone, torch.device("cpu"))
        ctx = ctx.sharing(feature_cache.store_for(backbone, changed.adapt))
        start = time.process_time()
        results = methods.prepare(ctx, method)(list(range(SPLITS)))
        srcc = [spearmanr(r.scores, ctx.quality[parts.test(i)])[0] for i, r in enumerate(results)]
        seconds = (time.process_time() - start) / SPLITS
        print(f"{method} {schedule}: median SRCC {np.median(srcc):.3f}; {seconds:.1f} s a split", flush=True)


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(*sys.argv[1:])
