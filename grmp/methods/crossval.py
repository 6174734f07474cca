"""Fine-tuning whose schedule is chosen inside the K labels, as ridge regression chooses its strength there.

A schedule that is fixed in advance can be wrong for a database or a CLIP, and a comparison with a method that does choose then
says little. Every combination of values in ``grid`` is a candidate. On each split the K labelled images are divided into
folds; the candidate whose out-of-fold scores have the highest SRCC with the ratings learns from all K. No test image is read
before that. Of candidates that are equally good the first is taken. The record states what each split has chosen.

The folds are those of ``grmp train``: at least 5 sources each, so with few labels there are fewer, and with fewer than 10
sources the first candidate is taken.
"""

from dataclasses import replace
from itertools import product
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from grmp.errors import UserError
from grmp.finetune.types import SplitResult
from grmp.methods.context import RunContext, Splitwise
from grmp.params import Method, Params, Tune, need

Candidate = dict[str, float]


class CrossVal(Method):
    """The method and its candidate settings."""

    reads = ("adapt", "prompts")

    kind: Literal["crossval"]
    method: str  # of kind tune
    folds: Annotated[int, Field(ge=2)]  # at most
    grid: dict[str, Annotated[list[int | float], Field(min_length=1)]]  # values of adapt.* and prompts.*

    @property
    def learns_from(self) -> str:
        """The method whose settings are chosen."""
        return self.method

    @property
    def repeats(self) -> float:
        """Every candidate learns from all folds but one, once for each fold."""
        return len(self.candidates) * (self.folds - 1.0)

    @property
    def candidates(self) -> list[Candidate]:
        """One value of each setting, in the order of the grid."""
        return [dict(zip(self.grid, values, strict=True)) for values in product(*self.grid.values())]

    def check(self, params: Params) -> None:
        """The method is of kind tune, and every candidate is valid."""
        need(self.method, params.tuned, "method")
        if learned := [key for key in self.grid if key.startswith("prompts.") and params.learned_start(self.method)]:
            raise ValueError(f"grid: {self.method} starts from learned prompts, which fix {learned[0]}")
        for candidate in self.candidates:
            try:
                params.changed(candidate)
            except UserError as error:
                raise ValueError(f"grid: {error}") from None


def prepare(ctx: RunContext, method: CrossVal) -> Splitwise:
    """Choose a candidate for each split by its folds, then fine-tune under it on the K labels."""
    from grmp.methods import tune
    from grmp.metrics import srcc

    candidates, base = method.candidates, ctx.params.methods[method.method]
    assert isinstance(base, Tune)  # checked when the settings are read

    def compute(ctx: RunContext, candidate: Candidate, numbers: list[int]) -> list[SplitResult]:
        return tune.prepare(replace(ctx, params=ctx.params.changed(candidate)), base)(numbers)

    def score(candidate: Candidate, numbers: list[int]) -> list[float]:
        """SRCC of the out-of-fold scores of each split; -inf where there is none."""
        found = {split: np.full(len(ctx.quality), np.nan) for split in numbers}
        for inner, of in folds(ctx, method.folds, numbers):
            for split, result in zip(of, compute(inner, candidate, of), strict=True):
                if not result.failure:
                    found[split][inner.tested.test(split)] = result.scores
        rows = {split: ctx.splits.train(split, ctx.shots) for split in numbers}
        each = [srcc(ctx.quality[rows[split]], found[split][rows[split]])[0] for split in numbers]
        return [-np.inf if np.isnan(value) else value for value in each]

    def run(numbers: list[int]) -> list[SplitResult]:
        scores = np.array([score(candidate, numbers) for candidate in candidates])  # (candidates, splits)
        results = dict.fromkeys(numbers, SplitResult())
        for i, candidate in enumerate(candidates):
            chosen = [split for split, best in zip(numbers, scores.argmax(0), strict=True) if best == i]
            for split, result in zip(chosen, compute(ctx, candidate, chosen) if chosen else [], strict=True):
                results[split] = replace(result, chosen=candidate)
        return [results[split] for split in numbers]

    return run


def folds(ctx: RunContext, most: int, numbers: list[int]) -> list[tuple[RunContext, list[int]]]:
    """For each fold: what trains on the other folds and is tested on it, and which of ``numbers`` have it."""
    from grmp.data.custom import folds as draw
    from grmp.data.custom import most_folds
    from grmp.data.dataset import source_ids
    from grmp.data.splits import Splits

    ranks = np.full((most, *ctx.splits.ranks.shape), -2)
    have: list[list[int]] = [[] for _ in range(most)]
    for split in numbers:
        rows = ctx.splits.train(split, ctx.shots)
        index = ctx.source.index.iloc[rows].reset_index(drop=True)
        count = min(most, most_folds(len(set(source_ids(index)))))
        for fold, part in enumerate(draw(index, count, ctx.params.adapt.seed + split).ranks if count else ()):
            ranks[fold, split, rows] = part
            have[fold].append(split)
    inner = replace(ctx, target=ctx.source, shots="100pct")
    each = zip(map(Splits, ranks), have, strict=True)
    return [(replace(inner, splits=part, tested=part), of) for part, of in each if of]
