"""A tiny world on disk, prepared and with a seeded backbone, for tests of what comes after."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import yaml

from grmp.clip import checkpoints
from grmp.clip.model import Shape
from grmp.data import decode
from grmp.data import splits as split_files
from grmp.data.dataset import array
from grmp.files import sha256, sha256_of, write_json
from grmp.params import read as read_params
from tests.conftest import ROOT
from tests.golden import weights

SHAPE = Shape(24, 32, 8, 64, 3, 1, 64, 3, 1, True, "imagenet")
SIZE = 36
EMPTY = {"protocols": [], "databases": [], "methods": [], "shots": []}


def settings(**changes: dict[str, Any]) -> dict[str, Any]:
    """Settings of the tiny world: those of the demo, smaller; ``changes`` are merged group by group."""
    raw = read_params(ROOT / "demo/params.yaml")
    small = {
        "paths": {"code": str(ROOT)},
        "data": {"databases": ["pre", "target"], "size": SIZE},
        "splits": {"count": 3},
        "prompts": {"visual_tokens": 3},
        "pretrain": {"databases": ["pre"], "epochs": 2, "support_batch": 8, "query_batch": 4, "threads": 1, "seeds": 1},
        "adapt": {"tuned_blocks": 1, "threads": 1, "scenes": ["dog", "house"]},
        "run": {name: dict(EMPTY) for name in ("ablation", "full", "cross")},
        "inner_curves": {"variants": ["fomaml"], "databases": ["pre", "target"], "counts": [0, 1, 2]},
        "continual": {"sequence": [], "method": "last_blocks", "shots": 6, "splits": 2, "clusters": 3},
        "attribution": {"shots": 6, "images": 2},
        "evaluate": {"resamples": 100},
    }
    raw["run"]["few_shot"] |= {"protocols": ["sound"], "databases": ["target"], "shots": [6, 12]}
    for protocol in raw["protocols"].values():
        protocol["adapt"]["epochs"] = 3
    raw["pretrain"]["variants"], raw["pretrain"]["target"] = ["fomaml"], "target"
    for group, values in [*small.items(), *changes.items()]:
        merge(raw[group], values)
    return raw


def merge(into: dict[str, Any], values: dict[str, Any]) -> None:
    """Values into a nested dictionary, key by key; lists are replaced."""
    for key, value in values.items():
        if isinstance(value, dict) and isinstance(into.get(key), dict):
            merge(into[key], value)
        else:
            into[key] = value


def database(world: Path, name: str, references: int, kinds: list[str], seed: int) -> None:
    """A prepared database of noise pictures whose brightness is their quality."""
    rng = np.random.default_rng(seed)
    rows = [
        {"image": f"r{r:02}_{kind}_{level}.png", "reference": f"r{r:02}", "distortion": kind, "level": level}
        for r in range(references)
        for kind in kinds
        for level in (1, 3, 5)
    ]
    index = pd.DataFrame(rows).sort_values("image", ignore_index=True)
    index["mos"] = np.round(1 + 4 * rng.uniform(size=len(index)), 4)
    index["quality"] = (index["mos"] - 1) / 4
    index["mos_std"] = 0.3
    noise = rng.normal(60 + 130 * index["quality"].to_numpy()[:, None, None, None], 20, (len(index), 3, SIZE, SIZE))
    folder = world / "data/prepared" / name
    folder.mkdir(parents=True)
    for view in decode.VIEWS:
        np.save(folder / array(view), np.clip(noise, 0, 255).astype(np.uint8))
    columns = ["image", "mos", "quality", "mos_std", "reference", "distortion", "level"]
    index[columns].to_csv(folder / "index.csv", index=False)
    digests = {path.name: sha256(path) for path in sorted(folder.iterdir())}
    info = {
        "name": name,
        "kind": "simulated",
        "decoder": decode.versions(),
        "count": len(index),
        "range": [1.0, 5.0],
        "sha256": digests,
        "views": {view: sha256_of([digests["index.csv"], digests[array(view)]]) for view in decode.VIEWS},
    }
    write_json(folder / "info.json", info)
    for protocol, by in (("sound", "reference"), ("published", "image")):
        split_files.make(index, world / f"data/splits/{name}/{protocol}.csv", count=3, test=0.25, seed=5, by=by)


def build(world: Path, **changes: dict[str, Any]) -> Path:
    """The whole tiny world in an empty folder; returns its params.yaml."""
    world.mkdir(parents=True, exist_ok=True)
    (world / "params.yaml").write_text(yaml.safe_dump(settings(**changes), sort_keys=False))
    database(world, "pre", references=5, kinds=["blur", "noise"], seed=1)
    database(world, "target", references=8, kinds=["jpeg"], seed=2)
    backbone = weights.clip_weights(SHAPE)
    checkpoints.save(world / checkpoints.PATH, backbone, {"config": vars(SHAPE)})
    return world / "params.yaml"
