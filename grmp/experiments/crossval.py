"""``grmp train``: rated images of the user -> a model in a file, and a cross-validated estimate of how good it is.

Each image is scored by a model that has seen neither it nor another image of the same source, and all scores are ranked
together. The baselines, zero-shot and ridge on embeddings, use the same folds. The saved model learns from all images.
"""

import difflib
import hashlib
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from grmp.clip import checkpoints, shipped, stem_cache
from grmp.clip.model import tokenize
from grmp.data import decode
from grmp.data.custom import folds as draw_folds
from grmp.data.dataset import Dataset, source_ids
from grmp.data.find import claim_output
from grmp.data.splits import Splits
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.experiments import identity, record
from grmp.experiments.cost import duration
from grmp.experiments.run import complete
from grmp.files import sha256, sha256_of
from grmp.finetune import feature_cache, trust
from grmp.finetune.scorer import QualityModel
from grmp.locks import lock
from grmp.methods import ridge, tune
from grmp.methods.context import RunContext, embeddings
from grmp.methods.zero_shot import ZeroShot
from grmp.metrics import bootstrap, srcc
from grmp.params import Params, RunKey, ShippedBackbone, Tune

KINDS = ("tune", "ridge", "zero_shot")  # of the methods that yield a model
LABELS = "100pct"  # of the training side of a fold
NAME = "own"  # in the place of a database
SUGGESTED = ("grmp", "last_blocks", "ridge", "zero_shot")
PERFECT = 0.99  # an SRCC that ties do not limit
SPREAD = 0.01  # of the scores of all images, less than which is worth a remark
COLUMNS = ["method", "srcc", "low", "high", "gain", "gain_low", "gain_high"]


def check(params: Params, method: str, against: Sequence[str], out: Path) -> None:
    """Raise UserError unless the methods can be compared on custom images, ``method`` yields a model, and it can be written."""
    for name in (method, *against):
        if name not in params.methods:
            near = difflib.get_close_matches(name, params.methods) or [n for n in SUGGESTED if n in params.methods]
            raise UserError(f"method '{name}' is not defined; try {', '.join(near)}, or see docs/methods.md")
        settings = params.for_method(name).adapt
        if params.adapting(name) and (settings.select, settings.label_scale) != ("fixed", "database"):
            raise UserError(
                f"method '{name}' under protocol '{params.protocol}' selects its epoch on test images or rescales labels to "
                "their own range; choose a method or a --protocol with select: fixed and label_scale: database"
            )
    if params.methods[method].kind not in KINDS:
        raise UserError(
            f"method '{method}' can be compared, but not kept as a model; keep a method of kind {', '.join(KINDS)}"
        )
    claim_output(out, ".safetensors")


def train(
    params: Params,
    root: Path,
    rated: Dataset,
    out: Path,
    method: str,
    against: Sequence[str],
    folds: int,
    unrated: Dataset | None = None,
) -> tuple[pd.DataFrame, list[str]]:
    """Cross-validate, learn from all images and save the model. With 0 ``folds`` there are neither folds nor baselines.

    Returns the table of :func:`compare`, and those of the ``unrated`` images on whose score the folds disagree, the most
    disagreement first. Finished folds are kept below results/partial until the model is saved, so an interrupted call
    continues. Raises UserError if the method yields no model, a file that it needs is missing, or training fails.
    """
    check(params, method, against, out)
    names = [*dict.fromkeys(n for n in against if folds and n != method), method]
    everything = Splits(np.arange(len(rated.index))[None])
    start = begin(params, root, rated, draw_folds(rated.index, folds, params.splits.seed) if folds else everything)
    contexts = {name: context_of(start, name) for name in names}
    if folds and unrated is not None:
        contexts[method] = _with(contexts[method], stem_cache.in_memory(unrated, start.backbone))
    kept = {name: record.partial(root, _identity(contexts[name], name)) for name in names}
    scores, seconds, spread = {}, 0.0, np.empty(0)
    for name in names if folds else []:
        with lock(root, f"train-{kept[name].name}"):  # another call may need the same folds of a baseline
            scores[name], spread, seconds = out_of_fold(contexts[name], name, kept[name])
    found = compare(rated.index, scores, method, params)
    found.attrs["remarks"] = remarks(rated.index["quality"].to_numpy(), scores, found, method)
    took = f", about {duration(seconds * folds / (folds - 1))}" if folds else ""
    print(f"{method}: training on all {len(rated.index)} images{took}", flush=True)
    model = learn(replace(start, params=contexts[method].params, splits=everything, tested=everything), method)
    card = rated.info | {
        "method": method,
        "protocol": params.protocol,
        "backbone": params.backbone.title,
        "images": len(rated.index),
        "folds": folds,
        "comparison": found.reset_index().to_dict("records"),
        "remarks": found.attrs["remarks"],
        "versions": {n: v for n, v in (record.versions() | decode.versions()).items() if n != "python"},
    }
    if folds:
        card |= trust.measure(rated.index["quality"].to_numpy(), scores[method], f"the {len(rated.index)} rated images")
    replace(model, card=card | model.among_photographs()).save(out)
    for folder in kept.values():
        with lock(root, f"train-{folder.name}"):
            shutil.rmtree(folder, ignore_errors=True)
    # `method` is the last of names, so `spread` is its own
    order = np.argsort(-spread, kind="stable")[: np.count_nonzero(spread)]
    return found, [] if unrated is None else unrated.index["image"].iloc[order].tolist()


def _with(context: RunContext, unrated: Dataset) -> RunContext:
    """The same, every fold also scoring the ``unrated`` images, which come last."""
    index = pd.concat([context.source.index, unrated.index], ignore_index=True)
    images = np.concatenate([context.source.images, unrated.images])
    ours = np.where(context.splits.ranks < 0, -1, -2)
    tested = np.hstack([ours, np.full((len(ours), len(unrated.index)), -1)])
    return replace(context, target=Dataset(NAME, index, images, context.source.info), tested=Splits(tested))


def begin(params: Params, root: Path, rated: Dataset, splits: Splits) -> RunContext:
    """The context of every method: that of a run, with custom images and splits."""
    device = choose_device(params.adapt.device, params.adapt.threads)
    wanted = params.backbone
    if isinstance(wanted, ShippedBackbone) and not (root / checkpoints.PATH).is_file():
        backbone = shipped.load(wanted.name).to(device)
    else:
        backbone = checkpoints.load(root, device, wanted.normalize)
    if rated.images.shape[-1] < backbone.shape.image_size:
        raise UserError(
            f"the backbone needs {backbone.shape.image_size} pixels per side; set data.size to that or more"
        )
    rated = stem_cache.in_memory(rated, backbone)
    context = RunContext(params, root, rated, rated, splits, splits, LABELS, backbone, device)
    return context.sharing(feature_cache.store_for(backbone, params.adapt))


def context_of(start: RunContext, name: str) -> RunContext:
    """The same under the settings of the method; checks that its prompts exist, or unpacks those of the package."""
    settings = start.params.for_method(name)
    if variant := settings.learned_start(name):
        if isinstance(settings.backbone, ShippedBackbone) and not (start.root / checkpoints.PATH).is_file():
            with lock(start.root, "prompts"):  # of another training on this machine
                shipped.prompts(settings.backbone.name, variant, start.root / f"models/prompts/{variant}.safetensors")
        checkpoints.load_prompts(start.root, variant, start.backbone, settings.prompts)
    return replace(start, params=settings)


def _identity(context: RunContext, name: str) -> str:
    """What determines the folds of a method: images and ratings, folds, settings, weights and code."""
    settings, rated = context.params, context.source
    start = settings.learned_start(name)
    return sha256_of(
        {
            "rated": [rated.index.to_csv(), hashlib.sha256(rated.images.tobytes()).hexdigest()],
            "folds": [context.splits.ranks.tolist(), context.target.index["image"].tolist()],
            "parameters": identity.parameters(settings, RunKey(settings.protocol, NAME, name, LABELS)),
            "backbone": context.backbone.sha256,
            "prompts": sha256(context.root / f"models/prompts/{start}.safetensors") if start else "",
            "code": identity.code(settings.methods[name].kind),
            "computed": [str(context.device), settings.adapt.threads, record.versions()],
        }
    )


def learn(ctx: RunContext, name: str) -> QualityModel:
    """The model of a method whose kind is one of ``KINDS``, trained on the training side of the first split."""
    method = ctx.params.methods[name]
    if isinstance(method, Tune):
        texts, job = tune.split_data(ctx, method)
        tensors = tune.tuned(ctx, name, texts, job(0).untested(), "lower adapt.learning_rate")
        return QualityModel.of(tensors, ctx.backbone.shape, texts.quality)
    clip = ctx.backbone
    if isinstance(method, ZeroShot):
        return QualityModel.of(ctx.backbone.weights, clip.shape, tokenize(method.templates))
    assert isinstance(method, ridge.Ridge)  # one of KINDS
    rows = ctx.splits.train(0, None)
    x = embeddings(ctx, ctx.source.images, rows).numpy().astype(np.float64)
    weights, intercept = ridge.fit(x, ctx.quality[rows], method, ctx.weights[rows])
    return QualityModel(clip, torch.tensor([*weights, intercept], dtype=torch.float32, device=ctx.device))


def out_of_fold(context: RunContext, name: str, folder: Path) -> tuple[np.ndarray, np.ndarray, float]:
    """(N,) score of each image by a model of a fold that has not seen it, and the mean seconds of a fold.

    Between them (U,): the standard deviation, over the folds, of the score of each unrated image. Finished folds are read from
    and kept in ``folder``.
    """
    results = complete(context, name, folder, name)
    scores = np.full((len(results), len(context.target.index)), np.nan)
    for fold, result in enumerate(results):
        if result.status != "ok":
            raise UserError(f"{name}, fold {fold} {result.status}; lower adapt.learning_rate")
        scores[fold, context.tested.test(fold)] = result.score
    rated, unrated = np.split(scores, [len(context.source.index)], axis=1)
    spread = (unrated - unrated[:1]).std(axis=0)  # exactly 0 where the folds agree
    return np.nanmax(rated, axis=0), spread, float(np.mean([result.seconds for result in results]))


def compare(index: pd.DataFrame, scores: dict[str, np.ndarray], method: str, params: Params) -> pd.DataFrame:
    """One row per method: ``srcc, low, high`` out of fold, and ``gain, gain_low, gain_high`` of ``method`` over it.

    Percentile bootstrap over sources (``reference``, or the image itself) with the same draws for all methods: the variation
    over other images of the same kind, with the models fixed. The intervals are not corrected for multiple comparisons.
    """
    if not scores:
        return pd.DataFrame(columns=COLUMNS).set_index("method")
    settings, quality, sources = params.evaluate, index["quality"].to_numpy(), source_ids(index)
    members = [np.flatnonzero(sources == source) for source in range(sources.max() + 1)]

    def all_of(drawn: np.ndarray) -> np.ndarray:  # SRCC of every method, then the gain of `method` over each
        rows = np.concatenate([members[source] for source in drawn])
        found = {name: srcc(quality[rows], score[rows])[0] for name, score in scores.items()}
        return np.array([*found.values(), *(found[method] - value for value in found.values())])

    units = np.arange(len(members))
    low, high = bootstrap((units,), all_of, settings.level, settings.resamples, settings.seed)
    alone, gains = np.split(np.column_stack([all_of(units), low, high]), 2)
    gains[list(scores).index(method)] = np.nan  # not compared with itself
    rows = [[name, *alone[i], *gains[i]] for i, name in enumerate(scores)]
    return pd.DataFrame(rows, columns=COLUMNS).set_index("method")


def remarks(quality: np.ndarray, scores: dict[str, np.ndarray], found: pd.DataFrame, method: str) -> list[str]:
    """What makes the table of :func:`compare` implausible, or limits it; one sentence each."""
    if not scores:
        return []
    against = next((name for name in ("zero_shot", method) if name in scores and found.loc[name, "high"] < 0), "")
    most, spread = srcc(quality, np.argsort(np.argsort(quality, kind="stable")))[0], np.ptp(scores[method])
    lower = "if a low rating means a good image, pass --lower-is-better"
    lines = [f"The ratings run against the scores of {against}: {lower}."] if against else []
    lines += [f"Many ratings are equal: no model can have an SRCC above {most:.3f} on them."] if most < PERFECT else []
    return lines + [f"All scores lie within {spread:.4f}: they hardly tell the images apart."] * bool(spread < SPREAD)


def summary(found: pd.DataFrame, params: Params, method: str) -> str:
    """The table of :func:`compare` as text, and what it does not show."""
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
    lines = ["  ".join(f"{cell:<{w}}" for cell, w in zip(row, widths, strict=True)).rstrip() for row in rows]
    if not found.loc[method, "low"] > 0:
        lines.append(
            "The interval of this model includes 0 or lies below it: nothing shows that it can rank such images. Rate more."
        )
    kept = found.loc[[params.methods[name].kind in KINDS for name in found.index], "gain_high"]
    better = kept.idxmin() if (kept < 0).any() else ""
    if better:
        lines.append(f"{label[better]} is better on these images; to keep it: --method {better}")
    return "\n".join([*lines, *found.attrs.get("remarks", ())])
