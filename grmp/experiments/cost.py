"""What runs cost: estimated from the records of their methods, or counted, and the progress of a sweep.

Counted are operations of matrix products, from the shapes of the image tower. A training step is one forward pass of the
trained blocks and a backward pass for each of its two losses, which is twice as large where weights are trained. Frozen
features and the teacher are computed once per crop. Left out as small: the text tower, shared prompts, and what ridge and
panel have beside CLIP. ``select: test`` counts all epochs; it may stop earlier. tests/experiments/test_cost.py compares
the counts with those of bench/results/cpu.csv, which are of what was executed.
"""

import json
import math
import time
import timeit
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import safe_open
from threadpoolctl import threadpool_limits

from grmp.data import databases
from grmp.errors import UserError
from grmp.experiments.record import read_run
from grmp.files import read_json
from grmp.params import Params, PretrainedBackbone, RunKey

# operations per second: NVIDIA's data sheet, SXM, dense
H100 = {"float32": 67e12, "bfloat16": 989e12, "float16": 989e12}
# share of the peak: the least of bench/results/cpu.csv, and that of a step of ten splits in bench/results/cuda.csv
REACHED_CPU, REACHED_GPU = 0.75, 0.23

Past = dict[RunKey, float]  # seconds per split


class Progress:
    """Prints one line for each run that ends."""

    def __init__(self, counted: Mapping[RunKey, float], parallel: int, root: Path, splits: int) -> None:
        """Runs and their counted operations per split; ``parallel`` runs of ``splits`` splits at a time."""
        self.counted, self.parallel, self.root, self.splits = counted, parallel, root, splits
        self.rest, self.start, self.known = set(counted), time.monotonic(), past(root)
        self.computed, self.failed = 0, dict[RunKey, str]()

    def update(self, key: RunKey, computed: bool = False, failure: str = "") -> None:
        """One run has ended: it was computed, was up to date, or failed for a reason."""
        self.rest.discard(key)
        self.computed += computed and not failure
        if failure:
            self.failed[key] = failure
        outcome = f"failed: {failure}" if failure else "computed" if computed else "up to date"
        self.known |= past(self.root, "/".join(map(str, key)))
        total, left, failed = len(self.counted), len(self.rest), len(self.failed)
        state = f"done {total - left - failed} of {total}, running {min(self.parallel, left)}, failed {failed}"
        elapsed = duration(time.monotonic() - self.start)
        print(f"{key}: {outcome}; {state}, elapsed {elapsed}, {self.left()} left", flush=True)

    def left(self) -> str:
        """Time of the remaining runs: their operations at the speed of this sweep's runs, of the same method if there are."""
        speeds = {key: self.counted[key] / seconds for key, seconds in self.known.items() if key in self.counted}
        if self.rest and not speeds:
            return "unknown time"
        each = []
        for key in self.rest:
            of_method = [speed for other, speed in speeds.items() if other.method == key.method]
            each.append(self.counted[key] / float(np.median(of_method or [*speeds.values()])))
        return f"about {duration(self.splits * sum(each) / max(1, min(self.parallel, len(each))))}"


def past(root: Path, which: str = "*/*/*/*") -> Past:
    """Mean seconds per split of the records below results/runs; those that cannot be read are ignored."""
    runs = map(read_run, sorted((root / "results/runs").glob(which)))
    return {run.key: sum(run.seconds) / run.splits for run in runs if run}


def estimate(key: RunKey, known: Past) -> float | None:
    """Seconds per split of the nearest record of the same method: same database, protocol and shots, as far as there are."""
    same = [other for other in known if other.method == key.method]
    far = {k: (k.database != key.database, k.protocol != key.protocol, k.shots != key.shots) for k in same}
    return known[min(same, key=lambda k: far[k])] if same else None


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


class Tower(NamedTuple):
    """The image tower."""

    layers: int
    width: int
    tokens: int  # without prompts

    def forward(self, blocks: int, prompts: int) -> float:
        """Operations of the last ``blocks`` for one image; the last one of all computes the class token alone."""
        return max(0, blocks - 1) * self.tokens * self.width * (24 * self.width + 4 * (self.tokens + prompts))


def tower(params: Params) -> Tower:
    """The shape of the pipeline's backbone."""
    if isinstance(params.backbone, PretrainedBackbone):
        import open_clip

        found = (open_clip.get_model_config(params.backbone.model) or {}).get("vision_cfg", {})
        if not found.get("patch_size"):
            raise UserError(f"backbone.model: open_clip knows no vision transformer '{params.backbone.model}'")
        return Tower(found["layers"], found["width"], 1 + (found.get("image_size", 224) // found["patch_size"]) ** 2)
    file = files("grmp.clip") / f"weights/{params.backbone.name}.safetensors"
    with safe_open(file, framework="np") as opened:  # not grmp.clip.shipped, which imports torch
        shape = json.loads(opened.metadata()["grmp"])["config"]
    return Tower(shape["vision_layers"], shape["vision_width"], 1 + (shape["image_size"] // shape["patch_size"]) ** 2)


def images(root: Path, name: str) -> int:
    """Number of images: of the prepared database, or as published; 0 if neither is known."""
    path = root / "data/prepared" / name / "info.json"
    if path.is_file():
        return int(read_json(path)["count"])
    return databases.known()[name].scores.count if name in databases.known() else 0


def operations(params: Params, root: Path, key: RunKey, clip: Tower) -> float:
    """Operations of one split; 0 if the size of a database is unknown (a simulated one that is not prepared)."""
    params = params.for_run(key)
    a, method, share = params.adapt, params.adapting(key.method), params.splits.test
    count, tested = images(root, key.source), images(root, key.target)
    every = tested + count * (key.target != key.source)
    tested = round(tested * share) if key.target == key.source else tested
    labels = key.shots if isinstance(key.shots, int) else count * (1 - share) * int(key.shots[:-3]) / 100
    prompts = 0 if method and method.prompts in ("none", "context") else params.prompts.visual_tokens
    whole = clip.forward(clip.layers, prompts)
    if not method or not count or not tested:  # without training every image is read once, for all splits
        return every / params.splits.count * whole * bool(count and tested)
    kind = params.methods[key.method]
    if kind.learns_from and not kind.repeats:
        tested = int(min(round(count * (1 - share)), kind.taught_on))  # the teacher scores them
    through = {"all", "norms", "visual_prompts"} & set(method.train)  # trained from the first block on
    trained = clip.layers if through else a.tuned_blocks if {"blocks", "lora"} & set(method.train) else 0
    part = clip.forward(min(trained, clip.layers), prompts)
    backward = 2 if {"all", "blocks"} & set(method.train) else 1
    losses = 2 if method.rule != "none" else 1 + 1 / a.angle_every
    crops = labels * (min(a.views, a.epochs) if a.views and not a.prompt_dropout else a.epochs)
    evaluations = a.epochs / a.evaluate_every if a.select == "test" else 1
    training = labels * a.epochs * part * (1 + backward * losses) + crops * (2 * whole - part)
    training *= 1 + kind.repeats
    if method.teacher == "quality":  # it takes as many steps, on batches of all labels
        training += min(a.batch, count * (1 - share)) * a.epochs * (whole + backward * part)
    return training + tested * (whole - part + evaluations * part) + kind.beside_clip


def pretraining(params: Params, clip: Tower) -> float:
    """Operations of all variants: two passes through the tower, to the prompts and back, for each image of a task."""
    p, passes, known = params.pretrain, 0.0, databases.known()
    for entry in (known[name] for name in p.databases if name in known and known[name].distortions):
        a_task = entry.scores.count / len(entry.distortions)
        supports, queries = p.support * a_task, (1 - p.support) * a_task
        for variant in (params.variants[name] for name in p.variants):
            again = getattr(variant, "query", "outer") == "inner"  # a query batch after every support batch
            steps = math.ceil(supports / p.support_batch)
            passes += len(entry.distortions) * (supports + (steps * min(p.query_batch, queries) if again else queries))
    return p.seeds * p.epochs * passes * 2 * clip.forward(clip.layers, params.prompts.visual_tokens)


@cache
def speed(threads: int, gpu: bool, precision: str) -> float:
    """Operations per second to expect of a process on this machine: one large matrix product, times the share reached."""
    size = 8192 if gpu else 1024
    a: Any
    if gpu:
        import torch

        a = torch.rand(size, size, device="cuda", dtype=getattr(torch, precision))
    else:
        a = np.random.default_rng(0).random((size, size), np.float32)
    with threadpool_limits(threads):
        seconds = timeit.repeat(lambda: (a @ a)[0, 0].item(), number=1, repeat=5)  # item waits for a GPU
    return 2 * size**3 / min(seconds) * (REACHED_GPU if gpu else REACHED_CPU)


def on_h100(params: Params, runs: Mapping[RunKey, float], clip: Tower) -> str:
    """Two lines: the time of ``runs`` (operations of each) and of pre-training on one H100 and on 64, with the assumptions."""
    full, half = H100["float32"] / 1e12, H100["float16"] / 1e12
    each = [count / H100[params.for_run(key).adapt.precision] / REACHED_GPU for key, count in runs.items()]
    before, variants = pretraining(params, clip) / H100["float32"] / REACHED_GPU, max(1, len(params.pretrain.variants))
    many = before / variants + max(sum(each) / 64, max(each))
    return (
        f"by {sum(runs.values()):.2g} counted operations: about {duration(sum(each))} on one H100, after {duration(before)} of "
        f"pre-training; {duration(many)} in all on 64 (one for each run and variant)\n"
        f"assumed: {full:.0f} TFLOP/s in float32, {half:.0f} in half precision (NVIDIA's data sheet), of which "
        f"{REACHED_GPU:.0%} is reached, as measured in bfloat16"
    )
