"""Few-shot fine-tuning of the prompted CLIP under a gradient rule: GRMP-IQA, its ablations and its relatives.

The settings are ``params.Tune``. What is trained, the losses, the crops and the schedule are those of grmp/finetune.
"""

import math
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch

from grmp.clip.checkpoints import load_prompts
from grmp.clip.model import Tensors, prompted_texts, random_prompts, tokenize
from grmp.data.crops import place
from grmp.errors import UserError
from grmp.finetune.gradient_rules import RULES
from grmp.finetune.loop import finetune
from grmp.finetune.types import TEACHER_SCENE, SplitData, SplitResult, Subset, Texts
from grmp.methods.context import RunContext, Splitwise
from grmp.params import Tune

PLAIN = "a photo with {}."  # finetune.py, IQACLIP: the quality texts without a context
# which of the fresh prompts a method has that starts without learned ones
FRESH = {"none": (), "context": ("ctx",), "visual": ("visual.",), "random": ("ctx", "visual.")}


def prepare(ctx: RunContext, method: Tune) -> Splitwise:
    """Fine-tune the named parts of the prompted CLIP on each split, as many splits together as are asked for."""
    texts, data = split_data(ctx, method)

    def run(numbers: list[int]) -> list[SplitResult]:
        todo = with_teachers(ctx, method, texts, [data(i) for i in numbers])
        ready = [d for d in todo if isinstance(d, SplitData)]
        found = iter(finetune(ctx.backbone, texts, method, ctx.params.adapt, ready, ctx.features))
        return [next(found) if isinstance(d, SplitData) else d for d in todo]

    return run


def split_data(ctx: RunContext, method: Tune) -> tuple[Texts, Callable[[int], SplitData]]:
    """The texts of a method, and a function from a split's number to the input of its fine-tuning.

    Raises UserError if the method names a rule that does not exist.
    """
    if method.rule not in RULES:
        raise UserError(f"rule '{method.rule}' is not defined in gradient_rules.py; known: {', '.join(RULES)}")

    def on_device(prompts: Tensors) -> Tensors:
        return {n: t.to(ctx.device) for n, t in prompts.items()}

    p, begin = ctx.params.prompts, ctx.params.start_of(method)
    plain = begin in ("none", "visual")
    quality = [PLAIN.format(c) for c in p.classes] if plain else prompted_texts(p.classes, p.text_tokens)
    scenes = [TEACHER_SCENE.format(s) for s in ctx.params.adapt.scenes]
    texts = Texts(*map(tokenize, (quality, scenes)))

    learned = [] if begin in FRESH else list(map(on_device, load_prompts(ctx.root, begin, ctx.backbone, p)))
    images = place(ctx.inputs(ctx.source), ctx.device)
    target_images = images if ctx.target is ctx.source else place(ctx.inputs(ctx.target), ctx.device)

    def start(split: int) -> Tensors:
        if learned:  # split s starts from pre-training run s modulo their number
            return learned[split % len(learned)]
        generator = torch.Generator().manual_seed(1000 * ctx.params.adapt.seed + split)
        sizes = p.visual_tokens, p.visual_layers, p.text_tokens
        prompts = random_prompts(ctx.backbone.shape, *sizes, p.norm, generator)
        return on_device({n: t for n, t in prompts.items() if n.startswith(FRESH[begin])})

    def data(split: int) -> SplitData:
        train = Subset(images, ctx.quality, ctx.splits.train(split, ctx.shots), ctx.weights)
        test = Subset(target_images, ctx.target.index["quality"].to_numpy(np.float64), ctx.tested.test(split))
        return SplitData(split, start(split), train, test)

    return texts, data


def tuned(ctx: RunContext, name: str, texts: Texts, data: SplitData, remedy: str) -> Tensors:
    """All tensors of the CLIP after fine-tuning the method ``name`` (kind tune) on one split.

    Raises UserError, which ends in ``remedy``, if the training of the method or of its teacher fails.
    """
    method = ctx.params.methods[name]
    assert isinstance(method, Tune)
    (found,) = with_teachers(ctx, method, texts, [replace(data, keep=True)])
    if isinstance(found, SplitData):
        (found,) = finetune(ctx.backbone, texts, method, ctx.params.adapt, [found], ctx.features)
    if found.failure or found.tensors is None:
        raise UserError(f"{name}, split {data.split}: {found.failure}; {remedy}")
    return found.tensors


def with_teachers(ctx: RunContext, method: Tune, texts: Texts, todo: list[SplitData]) -> list[SplitData | SplitResult]:
    """The inputs with the teacher of the semantic loss: ``clip`` (frozen), or ``quality`` for the control "upper".

    A quality teacher is the same CLIP, fine-tuned on ALL labels of the split's training side, so that the method knows more
    than K labels: it is a control, not a baseline. The teacher starts where the method starts, trains the published set of
    parameters (context, last blocks) without a rule, takes as many steps as the method will, and stops at its last epoch
    under any protocol, so that it learns nothing from test labels. A teacher that fails fails its split.
    """
    if method.teacher == "clip":
        return list(todo)
    plain = method.model_copy(update={"train": ["context", "blocks"], "rule": "none", "teacher": "clip"})
    settings, out = ctx.params.adapt, list[SplitData | SplitResult]()
    for data in todo:
        everything = replace(data.train, rows=ctx.splits.train(data.split, None))
        steps, a_pass = (math.ceil(len(side.rows) / settings.batch) for side in (data.train, everything))
        epochs = max(1, round(settings.epochs * steps / a_pass))
        schedule = settings.model_copy(update={"select": "fixed", "epochs": epochs})
        lesson = replace(data, train=everything).untested()
        (taught,) = finetune(ctx.backbone, texts, plain, schedule, [lesson], ctx.features)
        out.append(taught if taught.failure else replace(data, teacher=taught.tensors))
    return out
