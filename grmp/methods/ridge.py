"""Ridge regression (Hoerl and Kennard, 1970) on frozen image embeddings."""

from typing import Literal

import numpy as np
from threadpoolctl import threadpool_limits

from grmp.finetune.types import SplitResult
from grmp.methods.context import RunContext, Splitwise, each, embeddings
from grmp.params import Method


class Ridge(Method):
    """The strengths among which leave-one-out cross-validation chooses."""

    kind: Literal["ridge"]
    alphas: list[float]


def prepare(ctx: RunContext, method: Ridge) -> Splitwise:
    """E + 1 weights in closed form."""
    x = embeddings(ctx, ctx.inputs(ctx.source)).numpy().astype(np.float64)
    same = ctx.target is ctx.source
    x_target = x if same else embeddings(ctx, ctx.inputs(ctx.target)).numpy().astype(np.float64)

    @threadpool_limits.wrap(limits=1)  # the last bits must not depend on how many cores there are
    def one(split: int) -> SplitResult:
        train, test = ctx.splits.train(split, ctx.shots), ctx.tested.test(split)
        weights, intercept = fit(x[train], ctx.quality[train], method, ctx.weights[train])
        return SplitResult(x_target[test] @ weights + intercept, trained_values=x.shape[1] + 1)

    return each(one)


@threadpool_limits.wrap(limits=1)
def fit(x: np.ndarray, y: np.ndarray, method: Ridge, weights: np.ndarray | None = None) -> tuple[np.ndarray, float]:
    """Weights (E,) and intercept on embeddings (K, E); alpha by exact leave-one-out error inside the K labelled images."""
    from sklearn.linear_model import RidgeCV

    found = RidgeCV(alphas=method.alphas).fit(x, y, weights)
    return found.coef_, float(found.intercept_)
