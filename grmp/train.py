"""Rated pictures of one's own -> a model in a file, and how far it can be trusted.

How good the method is on these pictures is told by cross-validation: each picture is scored by a model that has not seen it
(nor another picture of the same source), and all scores are ranked together. The methods that ask for less, zero-shot and
ridge on embeddings, go through the same folds. The model that is kept learns from all pictures.
"""

import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import stats
from tqdm import tqdm

from grmp import backbone as checkpoints
from grmp import clip, methods, runs
from grmp.adapt import SplitFailure, adapt_splits
from grmp.databases.prepared import Prepared
from grmp.databases.ratings import folds as draw_folds
from grmp.databases.ratings import units
from grmp.databases.splits import Splits
from grmp.errors import UserError
from grmp.evaluate import srcc
from grmp.files import sha256, sha256_of
from grmp.methods import Case
from grmp.model import Model
from grmp.ownership import own
from grmp.params import Params, Tune
from grmp.runs import Key
from grmp.sweep import choose_device, in_groups

LABELS = "100pct"  # of a fold's training side
NAME = "own"


def train(
    params: Params, world: Path, rated: Prepared, out: Path, method: str, against: Sequence[str], folds: int
) -> pd.DataFrame:
    """Cross-validate, learn from all pictures, write the model; returns what :func:`compare` says.

    Folds that are done are kept below results/partial until the model is written, so an interrupted call goes on.

    Parameters
    ----------
    folds
        0 goes without cross-validation.

    Raises
    ------
    UserError
        If the method gives no model, or training fails.
    """
    for name in (method, *against):
        if name not in params.methods:
            raise UserError(f"method '{name}' is not defined in params.yaml; known: {', '.join(params.methods)}")
    if not isinstance(params.methods[method], Tune):
        tuned = ", ".join(n for n, m in params.methods.items() if isinstance(m, Tune))
        raise UserError(f"method '{method}' does not adapt CLIP, so there is no model to keep; choose one of {tuned}")
    if params.adapt.select != "fixed":
        raise UserError(
            f"protocol '{params.protocol}' chooses its epoch on test pictures, of which there are none here; name another "
            "one with --protocol"
        )
    names = list(dict.fromkeys([*against, method])) if folds else [method]
    cases = {name: case_of(params, world, rated, name, max(folds, 2)) for name in names}
    digest = sha256_of([rated.index.to_csv(), hashlib.sha256(rated.images.tobytes()).hexdigest(), folds])
    places = {name: runs.partial(world, _identity(cases[name], name, digest)) for name in cases}
    with own(world, f"train-{digest}"):
        scores = {name: out_of_fold(cases[name], name, places[name]) for name in names} if folds else {}
        found = compare(rated.index, scores, method, params)
        model = _on_everything(cases[method], method)
        card = rated.info | {
            "method": method,
            "protocol": params.protocol,
            "pictures": len(rated.index),
            "folds": folds,
        }
        card |= {"comparison": found.reset_index().to_dict("records"), "versions": _versions()}
        replace(model, card=card).save(out)
        for place in places.values():
            shutil.rmtree(place, ignore_errors=True)
    return found


def _versions() -> dict[str, str]:
    return {name: version(name) for name in runs.PACKAGES}


def case_of(params: Params, world: Path, rated: Prepared, name: str, folds: int) -> Case:
    """What a method may look at: as in a run, but for the splits."""
    settings = params.for_method(name)
    device = choose_device(settings.adapt.device, settings.adapt.threads)
    backbone = checkpoints.load(world, device, settings.backbone.normalize)
    if rated.images.shape[-1] < backbone.shape.image_size:
        raise UserError(f"the backbone reads {backbone.shape.image_size} pixels a side; set data.size to that or more")
    splits = draw_folds(rated.index, folds, settings.splits.seed)
    return Case(settings, world, rated, rated, splits, splits, LABELS, backbone, device)


def _identity(case: Case, name: str, digest: str) -> str:
    """What the folds of a method are known by: pictures and ratings, settings, weights and code."""
    settings = case.params
    start = runs.learned_start(settings, name)
    return sha256_of(
        {
            "rated": digest,
            "parameters": runs.parameters(settings, Key(settings.protocol, NAME, name, LABELS)),
            "backbone": case.backbone.sha256,
            "prompts": sha256(case.folder / f"models/prompts/{start}.safetensors") if start else "",
            "code": runs.code(settings.methods[name].kind),
        }
    )


def out_of_fold(case: Case, name: str, place: Path) -> np.ndarray:
    """Score of each picture by a model of a fold that has not seen it, (N,)."""
    index, scores = case.source.index, np.full(len(case.source.index), np.nan)
    done = {i: r for i in range(case.splits.count) if (r := runs.read_split(place, i))}
    todo = [i for i in range(case.splits.count) if i not in done]
    compute = methods.prepare(case, name) if todo else lambda numbers: []
    size = case.params.adapt.splits_at_once or (1 if case.device.type == "cpu" else case.splits.count)
    with tqdm(total=case.splits.count, initial=len(done), desc=name, unit="fold", disable=None) as bar:
        for group, outcomes, seconds in in_groups(compute, todo, size, name):
            for fold, outcome in zip(group, outcomes, strict=True):
                if isinstance(outcome, SplitFailure):
                    raise UserError(f"{name}, fold {fold}: {outcome}; lower adapt.learning_rate")
                rows = index.iloc[case.splits.test(fold)]
                predictions = {c: rows[c].tolist() for c in ("image", "quality")}
                done[fold] = {
                    "predictions": predictions | {"score": [float(s) for s in outcome.scores]},
                    "history": outcome.history,
                    "trained_values": outcome.trained_values,
                    "seconds": seconds,
                    "status": "ok",
                }
                runs.write_split(place, fold, done[fold])
                bar.update()
    for fold, result in done.items():
        scores[case.splits.test(fold)] = result["predictions"]["score"]
    return scores


def _on_everything(case: Case, name: str) -> Model:
    """The model that learned from all pictures."""
    method, everything = case.params.methods[name], np.arange(len(case.source.index))
    assert isinstance(method, Tune)  # train has seen to it
    case = replace(case, splits=Splits(everything[None]), tested=Splits(everything[None]))
    texts, job = methods.jobs(case, method)
    # one picture to score, as a job must have one; its score is of no use
    alone = replace(job(0), test=replace(job(0).train, rows=everything[:1]), keep=True)
    print(f"{name}: learning from all {len(everything)} pictures", flush=True)
    (ready,) = methods.with_teachers(case, method, texts, [alone])
    if isinstance(ready, SplitFailure):
        raise UserError(f"the teacher of {name}: {ready}; lower adapt.learning_rate")
    (found,) = adapt_splits(case.backbone, texts, method, case.params.adapt, [ready])
    if isinstance(found, SplitFailure):
        raise UserError(f"{name}: {found}; lower adapt.learning_rate")
    assert found.tensors is not None  # keep=True
    with torch.no_grad():
        text = clip.text_embedding(found.tensors, texts.quality, case.backbone.shape, found.tensors.get("ctx"))
    return Model(found.tensors, text, case.backbone.shape)


def compare(index: pd.DataFrame, scores: dict[str, np.ndarray], method: str, params: Params) -> pd.DataFrame:
    """SRCC of out-of-fold scores with its interval, and how far ``method`` is above each of the others.

    Percentile bootstrap over sources (``reference``, or the picture itself): how the number would vary with other pictures of
    the kind, the models held fixed.

    Returns
    -------
    DataFrame
        A row a method: ``srcc, low, high``, and of the difference ``method`` minus it ``gain, gain_low, gain_high``.
    """
    settings, quality = params.evaluate, index["quality"].to_numpy()
    of = units(index)
    members = [np.flatnonzero(of == u) for u in range(of.max() + 1)]

    def interval(statistic: Any) -> tuple[float, float, float]:
        def resampled(chosen: np.ndarray) -> float:
            return float(statistic(np.concatenate([members[u] for u in chosen])))

        ci = stats.bootstrap(
            (np.arange(len(members)),),
            resampled,
            vectorized=False,
            n_resamples=settings.resamples,
            confidence_level=settings.level,
            method="percentile",
            rng=np.random.default_rng(settings.seed),
        ).confidence_interval
        return float(statistic(np.arange(len(of)))), float(ci.low), float(ci.high)

    rows = []
    for name, score in scores.items():
        alone = interval(lambda r, s=score: srcc(quality[r], s[r])[0])
        gain = (np.nan,) * 3
        if name != method:
            best = scores[method]
            gain = interval(lambda r, s=score, b=best: srcc(quality[r], b[r])[0] - srcc(quality[r], s[r])[0])
        columns = ("srcc", "low", "high", "gain", "gain_low", "gain_high")
        rows.append({"method": name} | dict(zip(columns, (*alone, *gain), strict=True)))
    return pd.DataFrame(rows, columns=["method", "srcc", "low", "high", "gain", "gain_low", "gain_high"]).set_index(
        "method"
    )


def told(found: pd.DataFrame, params: Params, method: str) -> str:
    """:func:`compare` for people."""
    label = {name: m.label for name, m in params.methods.items()}
    rows = [("", f"SRCC, {params.evaluate.level:.0%} interval", f"{label[method]} minus it")]
    for name, r in found.iterrows():
        gain = ""
        if name != method:
            verdict = "above 0" if r["gain_low"] > 0 else "below 0" if r["gain_high"] < 0 else "no difference shown"
            gain = f"{r['gain']:+.3f} [{r['gain_low']:+.3f}, {r['gain_high']:+.3f}] {verdict}"
        rows.append((label[name], f"{r['srcc']:.3f} [{r['low']:.3f}, {r['high']:.3f}]", gain))
    widths = [max(len(row[i]) for row in rows) for i in range(3)]
    return "\n".join("  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows)
