"""A miniature world of invented records: everything that the report reads, and nothing that was computed by a model."""

import copy
import hashlib
import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache, partial
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from grmp.files import sha256
from grmp.params import read as read_params
from grmp.report import page
from grmp.report.collect import collect
from grmp.report.results import Results

DATABASES = {"alpha": "simulated", "beta": "simulated", "gamma": "authentic"}
DISTORTIONS = ["blur", "jpeg", "noise", "saturation", "jitter", "pixelate"]
METHODS = {"zero_shot": 0.30, "ridge": 0.20, "random": 0.16, "meta": 0.12, "grmp": 0.10}  # noise of the predictions
VARIANTS = ["reptile", "reptile_published"]
NOTEBOOKS = ["databases", "few_shot", "cost"]  # those that tests execute in a kernel
OTHERS = [  # those whose cells tests run in their own process
    "summary",
    "predictions",
    "meta_training",
    "full_supervision",
    "cross_dataset",
    "continual",
    "ablation",
    "gradient",
    "selection",
    "distortions",
    "where_it_looks",
]
SHOTS = [25, 50]
EMPTY = {"protocols": [], "databases": [], "methods": [], "shots": []}
SHARES, CROSS = ["20pct", "100pct"], "alpha_to_gamma"
RANGE = (0.0, 9.0)
TUNE = {"kind": "tune", "train": ["context", "blocks"], "rule": "none", "strength": 0.0}
GRMP = TUNE | {"prompts": "reptile", "rule": "published", "strength": 5.0}
ROOT = Path(__file__).parents[2]


demo = cache(partial(read_params, ROOT / "demo/params.yaml"))


def settings() -> dict:
    """params.yaml: the demo's, with databases, methods and matrix of our own."""
    given = copy.deepcopy(demo())
    return given | {
        "paths": {"code": "code"},  # a copy, which no commit made meanwhile can change
        "data": given["data"] | {"databases": ["pre", *DATABASES]},
        "splits": given["splits"] | {"count": 5},
        "pretrain": given["pretrain"] | {"databases": ["pre"], "variants": VARIANTS, "target": "alpha", "seeds": 1},
        "methods": {
            "zero_shot": {"kind": "zero_shot", "label": "Zero-shot", "templates": ["good", "bad"]},
            "ridge": {"kind": "ridge", "label": "Ridge on embeddings", "alphas": [1.0]},
            "random": TUNE | {"label": "Random prompts", "prompts": "random"},
            "meta": TUNE | {"label": "Meta-learned prompts", "prompts": "reptile"},
            "grmp": GRMP | {"label": "GRMP-IQA"},
        },
        "variants": {n: v for n, v in given["variants"].items() if n in VARIANTS},
        "protocols": {
            "sound": given["protocols"]["sound"] | {"meta": "reptile"},
            "published": given["protocols"]["published"],
        },
        "run": {
            "few_shot": {
                "protocols": ["sound", "published"],
                "databases": list(DATABASES),
                "methods": list(METHODS),
                "shots": SHOTS,
            },
            "ablation": dict(EMPTY),
            "full": {"protocols": ["sound"], "databases": ["gamma"], "methods": ["ridge", "grmp"], "shots": SHARES},
            "cross": {"protocols": ["sound"], "databases": [CROSS], "methods": ["ridge", "grmp"], "shots": [50]},
        },
        "ablations": {},
        "inner_curves": {"variants": ["reptile"], "databases": ["pre", "alpha"], "counts": [0, 1, 2]},
        "continual": {"sequence": list(DATABASES), "method": "grmp", "shots": 25, "splits": 4, "clusters": 2},
        "attribution": {"methods": ["meta", "grmp"], "shots": 25, "split": 0, "images": 2},
        "evaluate": {
            "resamples": 200,
            "level": 0.95,
            "seed": 0,
            "pairs": [
                {"method": "meta", "against": "random", "question": "Do meta-learned prompts help?"},
                {"method": "grmp", "against": "meta", "question": "Does gradient regularization help?"},
            ],
        },
        "report": {"notebooks": NOTEBOOKS, "title": "A miniature world", "parts": []},
    }


def run_here(name: str, root: Path, figures: bool = True) -> list[dict]:
    """Run the cells of a notebook in this process, its outputs for the site; returns their notes.

    Without ``figures`` they are made, but not written.
    """
    shown: list[dict] = []
    source = (ROOT / f"notebooks/{name}.py").read_text()
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        patch.setenv(page.FOR_SITE, name)
        if not figures:
            patch.setattr(page, "save", lambda figure, base: b"")
        patch.setattr(page, "display", lambda _, raw, metadata=None: shown.append((metadata or {}).get("grmp", {})))
        exec(compile(source, name, "exec"), {})
    return [note for note in shown if note]


def make_prepared(world: Path, database: str, kind: str, seed: int, pictures: int = 120) -> pd.DataFrame:
    """data/prepared/<database>: random gradients, noisier the worse they are."""
    rng = np.random.default_rng(seed)
    quality = rng.random(pictures).round(4)
    ramp = np.linspace(0, 1, 32)[None, None, :] * np.linspace(0.3, 1, 32)[None, :, None] * np.ones((3, 1, 1))
    tint = rng.random((pictures, 3, 1, 1))
    noise = rng.normal(0, 1, (pictures, 3, 32, 32)) * (1 - quality)[:, None, None, None]
    images = np.clip(255 * (0.6 * ramp[None] + 0.4 * tint + 0.2 * noise), 0, 255).astype(np.uint8)
    index = pd.DataFrame(
        {
            "image": [f"{i:04d}.png" for i in range(pictures)],
            "mos": (quality * (RANGE[1] - RANGE[0]) + RANGE[0]).round(4),
            "quality": quality,
            "mos_std": 0.5,
            "reference": [f"r{i % 20:02d}.png" for i in range(pictures)] if kind != "authentic" else "",
            "distortion": [DISTORTIONS[i % len(DISTORTIONS)] for i in range(pictures)] if kind != "authentic" else "",
            "level": [i % 5 + 1 for i in range(pictures)] if kind != "authentic" else "",
        }
    )
    folder = world / "data/prepared" / database
    folder.mkdir(parents=True)
    index.to_csv(folder / "index.csv", index=False)
    np.save(folder / "images.npy", images)
    info = {"name": database, "kind": kind, "pictures": pictures, "range": list(RANGE), "views": {"pillow": "3" * 64}}
    (folder / "info.json").write_text(json.dumps(info))
    return index


def make_record(
    world: Path,
    database: str,
    method: str,
    shots: int | str,
    index: pd.DataFrame,
    splits: int = 5,
    seed: int = 0,
    protocol: str = "sound",
) -> Path:
    """results/runs/<protocol>/<database>/<method>/<shots>; returns the folder."""
    params = settings()
    of_method = params["methods"][method]
    tuned = of_method["kind"] == "tune"
    predictions, history = [], []
    for split in range(splits):
        test = index.sample(40, random_state=split)  # the same for every method
        labels = shots if isinstance(shots, int) else int(shots.removesuffix("pct")) + 25
        rng = np.random.default_rng([seed, split, labels, sorted(METHODS).index(method), protocol == "published"])
        noise = METHODS[method] * (25 / labels) ** (0.5 if method != "zero_shot" else 0)
        score = 0.5 + 0.05 * (test["quality"] - 0.5 + rng.normal(0, noise, len(test)))
        predictions.append(test[["image", "quality"]].assign(split=split, score=score.to_numpy()))
        for epoch in range(5 if tuned else 0):
            history.append((split, epoch, 1e-3, 0.1 * 0.8**epoch, 0.02, 88.0 + epoch))
    run = {
        "schema": 3,
        "protocol": protocol,
        "database": database,
        "method": method,
        "shots": shots,
        "splits": splits,
        "status": ["ok"] * splits,
        "parameters": {"method": {k: v for k, v in of_method.items() if k != "label"}, "splits": splits, "shots": shots}
        | ({"adapt": params["adapt"], "prompts": params["prompts"]} if tuned else {}),
        "inputs": {"splits": "1" * 64, "backbone": "2" * 64, "database": "3" * 64, "code": "4" * 64},
        "identity": hashlib.sha256(f"{protocol}{database}{method}{shots}".encode()).hexdigest(),
        "versions": {"python": "3.11.0", "grmp": "0.1.0"},
        "device": "cpu",
        "threads": 1,
        "seconds": [1.5] * splits,
        "peak_bytes": 400_000_000,
        "trained_values": 12345 if tuned else 0,
    }
    folder = world / "results/runs" / protocol / database / method / str(shots)
    folder.mkdir(parents=True)
    columns = ["split", "image", "quality", "score"]
    pd.concat(predictions)[columns].to_csv(folder / "predictions.csv", index=False)
    columns = ["split", "epoch", "learning_rate", "task_loss", "semantic_loss", "angle_deg"]
    pd.DataFrame(history, columns=columns).to_csv(folder / "history.csv", index=False)
    (folder / "run.json").write_text(json.dumps(run))
    seal(folder)
    return folder


def edit(record: Path, **changes: object) -> None:
    """Change keys of the run.json in this folder."""
    path = record / "run.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def seal(record: Path) -> None:
    """Let run.json say that the tables are as they are."""
    edit(record, files={name: sha256(record / name) for name in ("predictions.csv", "history.csv")})


@contextmanager
def editing(world: Path) -> Iterator[dict]:
    """The content of params.yaml, written when the block ends."""
    path = world / "params.yaml"
    raw = yaml.safe_load(path.read_text())
    yield raw
    path.write_text(yaml.safe_dump(raw, sort_keys=False))


def recollect(world: Path) -> Results:
    """What ``collect`` makes of the records."""
    results = Results.open(world)
    collect(results.params, world / "results")
    return results


def make_steps(world: Path) -> None:
    """results/inner_curves/reptile.csv: losses that fall, from the meta-learned start less far."""
    rng = np.random.default_rng(5)
    rows = [
        (start, database, database == "pre", task, k, first - 0.02 * k + rng.normal(0, 0.005), rng.uniform(0, 1), 30)
        for start, first in (("meta", 0.64), ("random", 0.75))
        for database in ("pre", "alpha")
        for task in DISTORTIONS
        for k in (0, 1, 2)
    ]
    columns = ["start", "database", "seen", "task", "steps", "query_loss", "query_srcc", "images"]
    path = world / "results/inner_curves/reptile.csv"
    path.parent.mkdir(parents=True)
    pd.DataFrame(rows, columns=columns).to_csv(path, index=False)


def make_continual(world: Path) -> None:
    """results/continual.csv: only sequential fine-tuning forgets."""
    rng, names = np.random.default_rng(7), list(DATABASES)
    rows = [
        (strategy, split, step, names[step], name, 0.8 + rng.uniform(0, 0.01) - lost * 0.1 * (step - i), 40)
        for strategy, lost in (("gate", 0), ("sequential", 1), ("joint", 0))
        for split in range(4)
        for step in range(len(names))
        for i, name in enumerate(names[: step + 1])
    ]
    columns = ["strategy", "split", "step", "learned", "database", "srcc", "images"]
    pd.DataFrame(rows, columns=columns).to_csv(world / "results/continual.csv", index=False)


def make_look(world: Path, database: str, index: pd.DataFrame) -> None:
    """results/attribution/<database>: maps and embeddings of noise, for three models."""
    rng, models = np.random.default_rng(6), ["before", "meta", "grmp"]
    table = index.iloc[:40][["image", "quality"]].assign(scene=[f"scene {i % 9}" for i in range(40)])
    for model in models:
        table[[f"x_{model}", f"y_{model}"]] = rng.normal(size=(40, 2))
        table[f"score_{model}"] = rng.random(40)
    chosen = table.sort_values("quality")["image"].iloc[[0, 1, -2, -1]].tolist()
    folder = world / "results/attribution"
    folder.mkdir(parents=True, exist_ok=True)
    table.to_csv(folder / f"{database}.csv", index=False)
    np.savez_compressed(
        folder / f"{database}.npz",
        models=np.array(models),
        images=np.array(chosen),
        pixels=rng.integers(0, 256, (4, 3, 32, 32), dtype=np.uint8),
        relevance=rng.normal(size=(3, 4, 4, 4)).astype(np.float32),
        gap=np.full((3, 4), 0.01, np.float32),
        explained=np.full((3, 2), 0.25),
    )


def make_settings(world: Path) -> Path:
    """params.yaml, the notebooks and docs/: a world in which nothing has been run."""
    world.mkdir(parents=True, exist_ok=True)
    for name in ("notebooks", "docs"):
        shutil.copytree(ROOT / name, world / "code" / name, dirs_exist_ok=True)
    (world / "params.yaml").write_text(yaml.safe_dump(settings(), sort_keys=False))
    return world


def make_world(world: Path) -> Path:
    """The whole of it."""
    make_settings(world)
    make_prepared(world, "pre", "simulated", 9)
    for seed, (database, kind) in enumerate(DATABASES.items()):
        index = make_prepared(world, database, kind, seed)
        make_look(world, database, index)
        for method in METHODS:
            for shots in SHOTS:
                for protocol in ("sound", "published"):
                    make_record(world, database, method, shots, index, seed=seed, protocol=protocol)
    for method in ("ridge", "grmp"):  # index is gamma's
        for share in SHARES:
            make_record(world, "gamma", method, share, index, seed=7)
        make_record(world, CROSS, method, 50, index, seed=8)
    make_steps(world)
    make_continual(world)
    for seed, variant in enumerate(VARIANTS):
        rng = np.random.default_rng(seed)
        rows = [
            (epoch, "pre", task, *(0.1 * 0.85 ** (epoch * (1 + seed)) * rng.uniform(0.7, 1.3, 2)), 0.2)
            for epoch in range(8)
            for task in DISTORTIONS
        ]
        columns = ["epoch", "database", "task", "support_loss", "query_loss", "seconds"]
        path = world / "results/pretrain" / f"{variant}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame(rows, columns=columns).to_csv(path, index=False)
    card = {"name": "small", "source": "shipped with the package", "sha256": "abc"}
    (world / "results/backbone.json").write_text(json.dumps(card))
    return world


TARGETS = ["alpha", "beta"]
ADDED = {
    "random_qgr": GRMP | {"prompts": "random", "label": "Random prompts + rule"},
    "prograd": GRMP | {"rule": "prograd", "strength": 1.0, "label": "ProGrad"},
}
BLOCKS = {"base": "grmp", "key": "adapt.tuned_blocks", "title": "tuned blocks", "label": "{} blocks", "values": [0, 3]}
ABLATIONS = {
    "lambda": BLOCKS | {"key": "strength", "values": {"strong": 20.0}, "also": {"meta": 0.0}},
    "rule": BLOCKS | {"key": "rule", "values": [], "also": {"meta": "none", "prograd": "prograd"}},
    "blocks": BLOCKS,
    "layers": BLOCKS | {"base": "random", "key": "prompts.visual_layers", "values": {"shallow": 1}},
    "classes": BLOCKS | {"base": "random", "key": "prompts.classes", "values": {"words": ["good photo", "bad photo"]}},
}
PARTS = [
    {"method": "meta", "against": "random", "question": "Meta-learned prompts, without the rule"},
    {"method": "grmp", "against": "random_qgr", "question": "Meta-learned prompts, with the rule"},
    {"method": "random_qgr", "against": "random", "question": "Gradient rule, random prompts"},
    {"method": "grmp", "against": "meta", "question": "Gradient rule, meta-learned prompts"},
]
MORE = [*ADDED, "strong", "blocks_0", "blocks_3", "shallow", "words"]  # with those that the ablations generate


def with_ablations(world: Path) -> Path:
    """params.yaml with the methods above and their grid."""
    methods = [*ADDED, *(name for name in ABLATIONS if name != "rule")]
    with editing(world) as raw:
        raw["methods"] |= ADDED
        raw["run"]["ablation"] = {"protocols": ["sound"], "databases": TARGETS, "methods": methods, "shots": [25]}
        raw["ablations"], raw["report"]["parts"] = ABLATIONS, PARTS
    return world


def add_ablations(world: Path) -> Path:
    """Settings with ablations, and records for them: those of others, their scores moved a little."""
    with_ablations(world)
    for number, name in enumerate(MORE):
        for database in TARGETS:
            runs = world / "results/runs/sound" / database
            record = shutil.copytree(runs / "grmp/25", runs / name / "25")
            edit(record, method=name)
            table = pd.read_csv(record / "predictions.csv")
            table["score"] += np.random.default_rng(number).normal(0, 0.002 * (1 + number), len(table))
            table.to_csv(record / "predictions.csv", index=False)
            seal(record)
    return world
