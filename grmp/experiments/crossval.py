"""``grmp train``: rated images of the user -> a model in a file, and a cross-validated estimate of how good it is.

Each image is scored by a model that has seen neither it nor another image of the same source, and all scores are ranked
together. The baselines, zero-shot and ridge on embeddings, use the same folds. The saved model learns from all images.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
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
from grmp.experiments import identity, record
from grmp.experiments.progress import duration
from grmp.experiments.run import complete
from grmp.files import claim, sha256, sha256_of
from grmp.finetune.loop import finetune
from grmp.finetune.scorer import QualityModel
from grmp.finetune.types import SplitData
from grmp.locks import lock
from grmp.methods import tune
from grmp.methods.context import RunContext
from grmp.metrics import srcc
from grmp.params import Params, RunKey, Tune

LABELS = "100pct"  # of the training side of a fold
NAME = "own"  # in the place of a database
COLUMNS = ["method", "srcc", "low", "high", "gain", "gain_low", "gain_high"]


def check(params: Params, method: str, against: Sequence[str]) -> None:
    """Check that the methods can be compared on custom images, and that ``method`` yields a model.

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
                f"method '{name}' under protocol '{params.protocol}' selects its epoch on test images or rescales labels to "
                "their own range; choose a method or a --protocol with select: fixed and label_scale: database"
            )
    if not isinstance(params.methods[method], Tune):
        tuned = ", ".join(n for n, m in params.methods.items() if isinstance(m, Tune))
        raise UserError(
            f"method '{method}' does not fine-tune CLIP, so there is no model to save; choose one of {tuned}"
        )


def train(
    params: Params, root: Path, rated: Dataset, out: Path, method: str, against: Sequence[str], folds: int
) -> pd.DataFrame:
    """Cross-validate, learn from all images, save the model; returns the table of :func:`compare`.

    Finished folds are kept below results/partial until the model is saved, so an interrupted call continues.

    Parameters
    ----------
    folds
        0 skips cross-validation and the baselines ``against``.

    Raises
    ------
    UserError
        If the method yields no model, a file that it needs is missing, or training fails.
    """
    names = list(dict.fromkeys([*against, method])) if folds else [method]
    check(params, method, names)
    claim(out)
    everything = Splits(np.arange(len(rated.index))[None])
    start = begin(params, root, rated, draw_folds(rated.index, folds, params.splits.seed) if folds else everything)
    contexts = {name: context_of(start, name) for name in names}
    digest = digest_of(rated)
    scores, kept, seconds = {}, [], 0.0
    with lock(root, f"train-{sha256_of([digest, names])}"):
        for name in names if folds else []:
            kept.append(record.partial(root, _identity(contexts[name], name, digest)))
            scores[name], seconds = out_of_fold(contexts[name], name, kept[-1])
        found = compare(rated.index, scores, method, params)
        took = f", about {duration(seconds * folds / (folds - 1))}" if folds else ""
        print(f"{method}: training on all {len(rated.index)} images{took}", flush=True)
        model = learn(replace(contexts[method], splits=everything, tested=everything), method)
        card = rated.info | {
            "method": method,
            "protocol": params.protocol,
            "pictures": len(rated.index),
            "folds": folds,
            "comparison": found.reset_index().to_dict("records"),
            "versions": {name: text for name, text in record.versions().items() if name != "python"},
        }
        replace(model, card=card).save(out)
        for folder in kept:
            shutil.rmtree(folder, ignore_errors=True)
    return found


def digest_of(rated: Dataset) -> str:
    """sha256 of images and ratings."""
    return sha256_of([rated.index.to_csv(), hashlib.sha256(rated.images.tobytes()).hexdigest()])


def begin(params: Params, root: Path, rated: Dataset, splits: Splits) -> RunContext:
    """The context of every method: that of a run, with custom images and splits."""
    device = choose_device(params.adapt.device, params.adapt.threads)
    backbone = checkpoints.load(root, device, params.backbone.normalize)
    if rated.images.shape[-1] < backbone.shape.image_size:
        raise UserError(
            f"the backbone needs {backbone.shape.image_size} pixels per side; set data.size to that or more"
        )
    return RunContext(params, root, rated, rated, splits, splits, LABELS, backbone, device)


def context_of(start: RunContext, name: str) -> RunContext:
    """The same under the settings of the method; checks that its prompts exist."""
    settings = start.params.for_method(name)
    if variant := settings.learned_start(name):
        checkpoints.load_prompts(start.root, variant, start.backbone, settings.prompts)
    return replace(start, params=settings)


def _identity(context: RunContext, name: str, rated: str) -> str:
    """What determines the folds of a method: images and ratings, folds, settings, weights and code."""
    settings = context.params
    start = settings.learned_start(name)
    return sha256_of(
        {
            "rated": [rated, context.splits.ranks.tolist()],
            "parameters": identity.parameters(settings, RunKey(settings.protocol, NAME, name, LABELS)),
            "backbone": context.backbone.sha256,
            "prompts": sha256(context.root / f"models/prompts/{start}.safetensors") if start else "",
            "code": identity.code(settings.methods[name].kind),
        }
    )


def out_of_fold(context: RunContext, name: str, folder: Path) -> tuple[np.ndarray, float]:
    """(N,) score of each image by a model of a fold that has not seen it, and the mean seconds of a fold.

    Finished folds are read from and kept in ``folder``.
    """
    scores, results = np.full(len(context.source.index), np.nan), complete(context, name, folder, name)
    for fold, result in enumerate(results):
        if result.status != "ok":
            raise UserError(f"{name}, fold {fold} {result.status}; lower adapt.learning_rate")
        scores[context.splits.test(fold)] = result.score
    return scores, float(np.mean([result.seconds for result in results]))


def learn(context: RunContext, name: str) -> QualityModel:
    """The model of a method of kind tune, trained on the training side of the first split."""
    method = context.params.methods[name]
    assert isinstance(method, Tune)  # checked by check()
    texts, job = tune.split_data(context, method)
    first = job(0)
    # a split needs a test image; its score is not used
    alone = replace(first, test=replace(first.train, rows=first.train.rows[:1]), keep=True)
    (ready,) = tune.with_teachers(context, method, texts, [alone])
    if not isinstance(ready, SplitData):
        raise UserError(f"the teacher of {name}: {ready.failure}; lower adapt.learning_rate")
    (found,) = finetune(context.backbone, texts, method, context.params.adapt, [ready])
    if found.failure:
        raise UserError(f"{name}: {found.failure}; lower adapt.learning_rate")
    assert found.tensors is not None  # keep=True
    return QualityModel.of(found.tensors, context.backbone.shape, texts.quality)


def compare(index: pd.DataFrame, scores: dict[str, np.ndarray], method: str, params: Params) -> pd.DataFrame:
    """SRCC of out-of-fold scores with its interval, and the gain of ``method`` over each other method.

    Percentile bootstrap over sources (``reference``, or the image itself) with the same draws for all methods: the variation
    over other images of the same kind, with the models fixed. The intervals are not corrected for multiple comparisons.

    Returns
    -------
    DataFrame
        One row per method: ``srcc, low, high``, and of the difference ``method`` minus it ``gain, gain_low, gain_high``.
    """
    if not scores:
        return pd.DataFrame(columns=COLUMNS).set_index("method")
    settings, quality, sources = params.evaluate, index["quality"].to_numpy(), source_ids(index)
    members = [np.flatnonzero(sources == source) for source in range(sources.max() + 1)]

    def all_of(drawn: np.ndarray) -> np.ndarray:  # SRCC of every method, then the gain of `method` over each
        rows = np.concatenate([members[source] for source in drawn])
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
    gains[list(scores).index(method)] = np.nan  # not compared with itself
    rows = [[name, *alone[i], *gains[i]] for i, name in enumerate(scores)]
    return pd.DataFrame(rows, columns=COLUMNS).set_index("method")


def summary(found: pd.DataFrame, params: Params, method: str) -> str:
    """The table of :func:`compare` as text."""
    label = {name: m.label for name, m in params.methods.items()}
    rows = [("", f"SRCC, {params.evaluate.level:.0%} interval", f"gain of {label[method]}")]
    for name, r in found.iterrows():
        gain = ""
        if name != method:
            verdict = (
                "above 0" if r["gain_low"] > 0 else "below 0" if r["gain_high"] < 0 else "no significant difference"
            )
            gain = f"{r['gain']:+.3f} [{r['gain_low']:+.3f}, {r['gain_high']:+.3f}] "
            gain += verdict if np.isfinite(r["gain_low"]) else "undetermined: too few different ratings"
        rows.append((label[name], f"{r['srcc']:.3f} [{r['low']:.3f}, {r['high']:.3f}]", gain))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
