"""Two antonym texts on the frozen backbone, in the manner of CLIP-IQA (Wang et al., AAAI 2023, arXiv 2207.12396)."""

from typing import Annotated, Literal

from pydantic import Field

from grmp.finetune.types import SplitResult
from grmp.methods.context import RunContext, Splitwise, each, embeddings
from grmp.params import Method


class ZeroShot(Method):
    """The antonym pair. No label is read."""

    kind: Literal["zero_shot"]
    templates: Annotated[list[str], Field(min_length=2, max_length=2)]  # the better text first


def prepare(ctx: RunContext, method: ZeroShot) -> Splitwise:
    """Probability of the better text, for every test image."""
    import torch

    from grmp.clip.model import tokenize

    tokens = tokenize(method.templates)
    with torch.no_grad():
        text = ctx.backbone.text(tokens).cpu()
        logits = ctx.backbone.weights["logit_scale"].exp().cpu() * embeddings(ctx, ctx.inputs(ctx.target)) @ text.T
    scores = torch.softmax(logits, dim=-1)[:, 0].numpy()
    return each(lambda split: SplitResult(scores[ctx.tested.test(split)]))
