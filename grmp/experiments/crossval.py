"""Rated pictures of one's own -> a model in a file, and how far it can be trusted.

How good a method is on these pictures is told by cross-validation: each picture is scored by a model that has not seen it
(nor another picture of the same source), and all scores are ranked together. The methods that ask for less, zero-shot and
ridge on embeddings, go through the same folds. The model that is kept learns from all pictures.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import stats

from grmp.clip import checkpoints
from grmp.data.custom import folds as draw_folds
from grmp.data.dataset import Dataset, source_ids
from grmp.data.splits import Splits
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.experiments import runs
from grmp.experiments.batches import complete
from grmp.experiments.cost import duration
from grmp.files import claim, sha256, sha256_of
from grmp.finetune.loop import finetune
from grmp.finetune.scorer import QualityModel
from grmp.finetune.types import SplitData
from grmp.locks import lock
from grmp.methods import registry as methods
from grmp.methods.registry import Case
from grmp.metrics import srcc
from grmp.params import Params, RunKey, Tune

LABELS = "100pct"  # of a fold's training side
NAME = "own"
COLUMNS = ["method", "srcc", "low", "high", "gain", "gain_low", "gain_high"]


def check(params: Params, method: str, against: Sequence[str]) -> None:
    """The methods can be compared on pictures of one's own, and ``method`` gives a model.

    Raises
    ------
    UserError
        If not.
    """
    for name in (method, *against):
        if name not in params.methods:
            raise UserError(f"method '{name}' is not defined in params.yaml; known: {', '.join(params.methods)}")
        settings = params.for_method(name).adapt
        if params.adapting(name) and (settings.select, settings.label_scale) != ("fixed", "database"):
            raise UserError(
                f"method '{name}' under protocol '{params.protocol}' chooses its epoch on test pictures or stretches labels to "
                "their own extremes; choose a method or a --protocol with select: fixed and label_scale: database"
            )
    if not isinstance(params.methods[method], Tune):
        tuned = ", ".join(n for n, m in params.methods.items() if isinstance(m, Tune))
        raise UserError(f"method '{method}' does not adapt CLIP, so there is no model to keep; choose one of {tuned}")


def train(
    params: Params, world: Path, rated: Dataset, out: Path, method: str, against: Sequence[str], folds: int
) -> pd.DataFrame:
    """Cross-validate, learn from all pictures, write the model; returns what :func:`compare` says.

    Folds that are done are kept below results/partial until the model is written, so an interrupted call goes on.

    Parameters
    ----------
    folds
        0 goes without cross-validation, and without ``against``.

    Raises
    ------
    UserError
        If the method gives no model, what it needs is missing, or training fails.
    """
    names = list(dict.fromkeys([*against, method])) if folds else [method]
    check(params, method, names)
    claim(out)
    everything = Splits(np.arange(len(rated.index))[None])
    start = begin(params, world, rated, draw_folds(rated.index, folds, params.splits.seed) if folds else everything)
    cases = {name: case_of(start, name) for name in names}
    scores, places, expected = {}, [], 0.0
    with lock(world, f"train-{sha256_of([rated.index.to_csv(), _digest(rated), names])}"):
        for name in names if folds else []:
            places.append(runs.partial(world, _identity(cases[name], name)))
            scores[name], expected = out_of_fold(cases[name], name, places[-1])
        found = compare(rated.index, scores, method, params)
        took = f", about {duration(expected * folds / (folds - 1))}" if folds else ""
        print(f"{method}: learning from all {len(rated.index)} pictures{took}", flush=True)
        model = learn(replace(cases[method], splits=everything, tested=everything), method)
        card = rated.info | {
            "method": method,
            "protocol": params.protocol,
            "pictures": len(rated.index),
            "folds": folds,
        }
        card |= {"comparison": found.reset_index().to_dict("records"), "versions": _versions()}
        replace(model, card=card).save(out)
        for place in places:
            shutil.rmtree(place, ignore_errors=True)
    return found


def _versions() -> dict[str, str]:
    return {name: version(name) for name in runs.PACKAGES}


def _digest(rated: Dataset) -> str:
    return hashlib.sha256(rated.images.tobytes()).hexdigest()


def begin(params: Params, world: Path, rated: Dataset, splits: Splits) -> Case:
    """What every method may look at: as in a run, but for the pictures and the splits."""
    device = choose_device(params.adapt.device, params.adapt.threads)
    backbone = checkpoints.load(world, device, params.backbone.normalize)
    if rated.images.shape[-1] < backbone.shape.image_size:
        raise UserError(f"the backbone reads {backbone.shape.image_size} pixels a side; set data.size to that or more")
    return Case(params, world, rated, rated, splits, splits, LABELS, backbone, device)


def case_of(start: Case, name: str) -> Case:
    """The same under the method's own settings; what the method needs is there."""
    settings = start.params.for_method(name)
    if variant := runs.learned_start(settings, name):
        checkpoints.load_prompts(start.folder, variant, start.backbone, settings.prompts)
    return replace(start, params=settings)


def _identity(case: Case, name: str) -> str:
    """What the folds of a method are known by: pictures and ratings, folds, settings, weights and code."""
    settings = case.params
    start = runs.learned_start(settings, name)
    return sha256_of(
        {
            "rated": [case.source.index.to_csv(), _digest(case.source), case.splits.ranks.tolist()],
            "parameters": runs.parameters(settings, RunKey(settings.protocol, NAME, name, LABELS)),
            "backbone": case.backbone.sha256,
            "prompts": sha256(case.folder / f"models/prompts/{start}.safetensors") if start else "",
            "code": runs.code(settings.methods[name].kind),
        }
    )


def out_of_fold(case: Case, name: str, place: Path) -> tuple[np.ndarray, float]:
    """(N,) score of each picture by a model of a fold that has not seen it, and the seconds that a fold took.

    Folds that are done in the folder ``place`` are taken up, others are put there.
    """
    scores, results = np.full(len(case.source.index), np.nan), complete(case, name, place, name)
    for fold, result in enumerate(results):
        if result["status"] != "ok":
            raise UserError(f"{name}, fold {fold} {result['status']}; lower adapt.learning_rate")
        scores[case.splits.test(fold)] = result["predictions"]["score"]
    return scores, float(np.mean([result["seconds"] for result in results]))


def learn(case: Case, name: str) -> QualityModel:
    """The model of a method of kind tune that learned from the training side of the case's first split."""
    method = case.params.methods[name]
    assert isinstance(method, Tune)  # check has seen to it
    texts, job = methods.jobs(case, method)
    first = job(0)
    # one picture to score, as a job must have one; its score is of no use
    alone = replace(first, test=replace(first.train, rows=first.train.rows[:1]), keep=True)
    (ready,) = methods.with_teachers(case, method, texts, [alone])
    if not isinstance(ready, SplitData):
        raise UserError(f"the teacher of {name}: {ready.failure}; lower adapt.learning_rate")
    (found,) = finetune(case.backbone, texts, method, case.params.adapt, [ready])
    if found.failure:
        raise UserError(f"{name}: {found.failure}; lower adapt.learning_rate")
    assert found.tensors is not None  # keep=True
    return QualityModel.of(found.tensors, case.backbone.shape, texts.quality)


def compare(index: pd.DataFrame, scores: dict[str, np.ndarray], method: str, params: Params) -> pd.DataFrame:
    """SRCC of out-of-fold scores with its interval, and how far ``method`` is above each of the others.

    Percentile bootstrap over sources (``reference``, or the picture itself), the same draws for all methods: how the numbers
    would vary with other pictures of the kind, the models held fixed. Intervals are not corrected for their number.

    Returns
    -------
    DataFrame
        A row a method: ``srcc, low, high``, and of the difference ``method`` minus it ``gain, gain_low, gain_high``.
    """
    if not scores:
        return pd.DataFrame(columns=COLUMNS).set_index("method")
    settings, quality, of = params.evaluate, index["quality"].to_numpy(), source_ids(index)
    members = [np.flatnonzero(of == unit) for unit in range(of.max() + 1)]

    def all_of(drawn: np.ndarray) -> np.ndarray:  # SRCC of every method, then how far `method` is above each
        rows = np.concatenate([members[unit] for unit in drawn])
        found = {name: srcc(quality[rows], score[rows])[0] for name, score in scores.items()}
        return np.array([*found.values(), *(found[method] - value for value in found.values())])

    ci = stats.bootstrap(
        (np.arange(len(members)),),
        all_of,
        vectorized=False,
        n_resamples=settings.resamples,
        confidence_level=settings.level,
        method="percentile",
        rng=np.random.default_rng(settings.seed),
    ).confidence_interval
    alone, gains = np.split(np.column_stack([all_of(np.arange(len(members))), ci.low, ci.high]), 2)
    gains[list(scores).index(method)] = np.nan  # it is not compared with itself
    rows = [[name, *alone[i], *gains[i]] for i, name in enumerate(scores)]
    return pd.DataFrame(rows, columns=COLUMNS).set_index("method")


def told(found: pd.DataFrame, params: Params, method: str) -> str:
    """:func:`compare` for people."""
    label = {name: m.label for name, m in params.methods.items()}
    rows = [("", f"SRCC, {params.evaluate.level:.0%} interval", f"{label[method]} minus it")]
    for name, r in found.iterrows():
        gain = ""
        if name != method:
            verdict = "above 0" if r["gain_low"] > 0 else "below 0" if r["gain_high"] < 0 else "no difference shown"
            gain = f"{r['gain']:+.3f} [{r['gain_low']:+.3f}, {r['gain_high']:+.3f}] "
            gain += verdict if np.isfinite(r["gain_low"]) else "cannot be told: too few different ratings"
        rows.append((label[name], f"{r['srcc']:.3f} [{r['low']:.3f}, {r['high']:.3f}]", gain))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
