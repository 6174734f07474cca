"""The ``continual`` stage: databases come one after another, and a model is to learn the new one without forgetting the old.

Step t adds database t of ``continual.sequence``: K labels of its training side. After each step the model is tested on all
databases so far, as in Continual Learning for BIQA (Zhang et al., arXiv 2102.09717). What is trained is that of one method
of kind ``tune``, in three ways:

    sequential   goes on from the model of the step before
    joint        starts anew, with the labels of all databases so far together
    gate         one model for each database, starting anew; a gate weighs their scores (grmp/finetune/gate.py)

Epochs are fixed under any protocol, so nothing is learned from test labels. The scores of every model on every database are
kept as finished splits until the table is written, so an interrupted call continues.
"""

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import trange

from grmp.clip.model import Tensors
from grmp.code import code_digest
from grmp.data.crops import place
from grmp.experiments import identity, record
from grmp.experiments.run import check
from grmp.files import sha256_of, write_text
from grmp.finetune.gate import Gate
from grmp.finetune.scorer import QualityModel
from grmp.finetune.types import Subset
from grmp.methods import tune
from grmp.methods.context import RunContext, embeddings, open_context
from grmp.metrics import srcc
from grmp.params import Params, RunKey, Tune

COLUMNS = ["strategy", "split", "step", "learned", "database", "srcc", "images"]


def continual(params: Params, root: Path) -> None:
    """Write ``results/continual.csv``, one row per strategy, split, step and database. Raises UserError if training fails."""
    rows, settings = [], params.continual
    keys = [RunKey(params.protocol, name, settings.method, settings.shots) for name in settings.sequence]
    check(params, root, keys)
    runs = [identity.identify(params, root, key).digest for key in keys]
    computed = params.adapt.device, params.adapt.threads, record.versions(), code_digest(__name__)
    folder = record.partial(root, sha256_of([*runs, *computed]))
    if keys:
        contexts = {key.database: open_context(params, root, key) for key in keys}
        for split in trange(settings.splits, desc="continual", unit="split", disable=None):
            rows += [(strategy, split, *row) for strategy, *row in steps(contexts, split, folder)]
    table = pd.DataFrame(rows, columns=COLUMNS)
    write_text(root / "results/continual.csv", table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))
    shutil.rmtree(folder, ignore_errors=True)


def steps(contexts: dict[str, RunContext], split: int, folder: Path) -> Iterator[tuple[str, int, str, str, float, int]]:
    """(strategy, step, database learned, database tested, SRCC, test images) of one split; scores are kept in ``folder``."""

    @cache
    def model(*stages: tuple[str, ...]) -> QualityModel:
        """What learned these databases, one group after another."""
        before = model(*stages[:-1]).clip.weights if stages[1:] else None
        return learn([contexts[name] for name in stages[-1]], split, before)

    @cache
    def scores(*stages: tuple[str, ...]) -> dict[str, np.ndarray]:
        """Of the test images of every database on which some step tests this model."""
        learned, found = [name for stage in stages for name in stage], {}
        for name in names if len(learned) == 1 else learned:  # of one database: to the last step, behind the gate
            ctx, below = contexts[name], folder / ",".join(map("+".join, stages)) / name
            if (kept := record.read_split(below, split)) is None:
                one, rows = model(*stages), ctx.splits.test(split)
                kept = record.FinishedSplit(
                    image=ctx.source.index["image"].iloc[rows].tolist(),
                    quality=ctx.quality[rows].tolist(),
                    score=one.clip.score(ctx.inputs(ctx.source), rows, one.text).tolist(),
                )
                record.write_split(below, split, kept)
            found[name] = np.array(kept.score)
        return found

    @cache
    def features(name: str, labelled: bool) -> np.ndarray:
        ctx = contexts[name]
        rows = ctx.splits.train(split, ctx.shots) if labelled else ctx.splits.test(split)
        return embeddings(ctx, ctx.inputs(ctx.source), rows).numpy()

    names = tuple(contexts)
    for step, new in enumerate(names):
        seen, params = names[: step + 1], contexts[new].params
        gate = Gate.fit({name: features(name, True) for name in seen}, params.continual.clusters, params.adapt.seed)
        for name in seen:
            found = {
                "gate": gate.score(features(name, False), {n: scores((n,))[name] for n in seen}),
                "sequential": scores(*((n,) for n in seen))[name],
                "joint": scores(seen)[name],
            }
            quality = contexts[name].quality[contexts[name].splits.test(split)]
            for strategy, score in found.items():
                yield strategy, step, new, name, srcc(quality, score)[0], len(quality)


def learn(contexts: Sequence[RunContext], split: int, start: Tensors | None) -> QualityModel:
    """A model of the K labels of every context together; ``start`` are all its tensors [default: where the method starts]."""
    name, params = contexts[-1].params.continual.method, contexts[-1].params
    # features of an array that is made here are of no use to others
    ctx = replace(contexts[-1], params=params.changed({"adapt.select": "fixed"}), features=None)
    method = params.methods[name]
    assert isinstance(method, Tune)  # checked when the settings are read
    texts, data = tune.split_data(ctx, method)
    rows = [c.splits.train(split, c.shots) for c in contexts]
    images = np.concatenate([c.inputs(c.source)[r] for c, r in zip(contexts, rows, strict=True)])
    quality = np.concatenate([c.quality[r] for c, r in zip(contexts, rows, strict=True)])
    train = Subset(place(images, ctx.device), quality, np.arange(len(images)))
    given = replace(data(split), train=train).untested()
    given = given if start is None else replace(given, prompts=start)
    learned = " and ".join(c.source.name for c in contexts)
    tensors = tune.tuned(ctx, name, texts, given, f"after {learned}, lower adapt.learning_rate")
    return QualityModel.of(tensors, ctx.backbone.shape, texts.quality)
