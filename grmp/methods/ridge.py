"""Ridge regression (Hoerl and Kennard, 1970) on frozen image embeddings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from grmp.params import Method

if TYPE_CHECKING:
    from grmp.finetune.types import SplitResult
    from grmp.methods.context import RunContext, Splitwise


class Ridge(Method):
    """The strengths among which leave-one-out cross-validation chooses."""

    kind: Literal["ridge"]
    alphas: list[float]


def prepare(ctx: RunContext, method: Ridge) -> Splitwise:
    """E + 1 weights in closed form; alpha by exact leave-one-out error inside the K labelled images."""
    from grmp.finetune.types import SplitResult
    from grmp.methods.context import each, embeddings

    x = embeddings(ctx, ctx.source.images).numpy().astype(np.float64)
    same = ctx.target is ctx.source
    x_target = x if same else embeddings(ctx, ctx.target.images).numpy().astype(np.float64)

    def one(split: int) -> SplitResult:
        train, test = ctx.splits.train(split, ctx.shots), ctx.tested.test(split)
        mean_x, mean_y = x[train].mean(0), ctx.quality[train].mean()
        a, y = x[train] - mean_x, ctx.quality[train] - mean_y
        gram = a @ a.T  # (K, K): K is small, so the dual form

        def loo_error(alpha: float) -> float:
            hat = np.linalg.solve(gram + alpha * np.eye(len(y)), gram).T + 1 / len(y)
            return float(np.mean(((y - hat @ y) / (1 - np.diag(hat))) ** 2))  # Allen's PRESS, exact

        alpha = min(method.alphas, key=loo_error)
        dual = np.linalg.solve(gram + alpha * np.eye(len(y)), y)
        return SplitResult((x_target[test] - mean_x) @ (a.T @ dual) + mean_y, trained_values=x.shape[1] + 1)

    return each(one)
