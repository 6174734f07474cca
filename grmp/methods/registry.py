"""What is compared: one function a kind of method, behind one interface.

A method gets a ``Case`` (database, splits, shots, backbone) and returns a function from a list of split numbers to what
each gave, in that order, so that splits can be computed together; whatever all share is computed before. Every method
sees the same splits and the same K labels.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from grmp.clip.checkpoints import load_prompts
from grmp.clip.model import Backbone, Tensors, prompted_texts, random_prompts, tokenize
from grmp.data.crops import place
from grmp.data.dataset import Dataset
from grmp.data.splits import Splits
from grmp.finetune.loop import finetune
from grmp.finetune.types import TEACHER_SCENE, SplitData, SplitResult, Subset, Texts
from grmp.methods import distill
from grmp.methods.panel import panel
from grmp.params import STARTS, Distill, Panel, Params, Ridge, Tune, ZeroShot

PLAIN = "a photo with {}."  # finetune.py, IQACLIP: the quality texts without a context


@dataclass(frozen=True)
class Case:
    """All that a method may look at."""

    params: Params  # under the run's protocol
    folder: Path  # of params.yaml
    source: Dataset  # whose labels are read
    target: Dataset  # whose pictures are scored; mostly the same
    splits: Splits  # of the source
    tested: Splits  # of the target
    shots: int | str
    backbone: Backbone
    device: torch.device

    @property
    def quality(self) -> np.ndarray:
        """Quality in [0, 1] of every picture of the source, (N,)."""
        return self.source.index["quality"].to_numpy(np.float64)


Splitwise = Callable[[list[int]], list[SplitResult]]


def each(one: Callable[[int], SplitResult]) -> Splitwise:
    """Splits one after another, for a method that gains nothing from having them together."""

    return lambda numbers: [one(i) for i in numbers]


def embeddings(case: Case, images: np.ndarray) -> torch.Tensor:
    """Unit-length embeddings (N, E) of every image's centre crop by the backbone without prompts."""
    clip = case.backbone.prompted()
    return clip.map(clip.image, images, np.arange(len(images)))


def zero_shot(case: Case, method: ZeroShot) -> Splitwise:
    """Probability of the better of two antonym texts (CLIP-IQA's idea; Wang et al., AAAI 2023). Reads no label."""
    tokens = tokenize(method.templates).to(case.device)
    with torch.no_grad():
        text = case.backbone.prompted().text(tokens).cpu()
        logits = case.backbone.weights["logit_scale"].exp().cpu() * embeddings(case, case.target.images) @ text.T
    scores = F.softmax(logits, dim=-1)[:, 0].numpy()
    return each(lambda split: SplitResult(scores[case.tested.test(split)]))


def ridge(case: Case, method: Ridge) -> Splitwise:
    """Ridge regression on frozen embeddings; alpha by leave-one-out cross-validation inside the K labelled pictures."""
    x = embeddings(case, case.source.images).numpy().astype(np.float64)
    across = case.target is not case.source
    x_target = embeddings(case, case.target.images).numpy().astype(np.float64) if across else x

    def one(split: int) -> SplitResult:
        train, test = case.splits.train(split, case.shots), case.tested.test(split)
        mean_x, mean_y = x[train].mean(0), case.quality[train].mean()
        a, y = x[train] - mean_x, case.quality[train] - mean_y
        gram = a @ a.T  # (K, K): K is small, so the dual form

        def loo_error(alpha: float) -> float:
            hat = np.linalg.solve(gram + alpha * np.eye(len(y)), gram).T + 1 / len(y)
            return float(np.mean(((y - hat @ y) / (1 - np.diag(hat))) ** 2))  # Allen's PRESS, exact

        alpha = min(method.alphas, key=loo_error)
        dual = np.linalg.solve(gram + alpha * np.eye(len(y)), y)
        return SplitResult((x_target[test] - mean_x) @ (a.T @ dual) + mean_y, trained_values=x.shape[1] + 1)

    return each(one)


def tune(case: Case, method: Tune) -> Splitwise:
    """Adaptation by gradient steps on the parts of the prompted CLIP that the method names, under a gradient rule."""
    texts, job = jobs(case, method)

    def run(numbers: list[int]) -> list[SplitResult]:
        todo = with_teachers(case, method, texts, [job(i) for i in numbers])
        ready = [j for j in todo if isinstance(j, SplitData)]
        found = iter(finetune(case.backbone, texts, method, case.params.adapt, ready))
        return [next(found) if isinstance(j, SplitData) else j for j in todo]

    return run


def jobs(case: Case, method: Tune) -> tuple[Texts, Callable[[int], SplitData]]:
    """The texts of a method of kind tune, and what each split brings to its adaptation."""
    p, begin = case.params.prompts, case.params.start_of(method)
    has_context = begin not in ("none", "visual")
    quality = prompted_texts(p.classes, p.text_tokens) if has_context else [PLAIN.format(c) for c in p.classes]
    scenes = [TEACHER_SCENE.format(s) for s in case.params.adapt.scenes]
    texts = Texts(*(tokenize(t).to(case.device) for t in (quality, scenes)))

    learned = None if begin in STARTS else load_prompts(case.folder, begin, case.backbone, p)
    images = place(case.source.images, case.device)
    target_images = images if case.target is case.source else place(case.target.images, case.device)

    def start(split: int) -> Tensors:
        generator = torch.Generator().manual_seed(1000 * case.params.adapt.seed + split)
        visual = p.visual_tokens if begin in ("visual", "random") else 0
        prompts = random_prompts(case.backbone.shape, visual, p.visual_layers, p.text_tokens, p.norm, generator)
        dropped = [] if has_context else ["ctx"]
        if begin in ("none", "context"):  # no visual prompts, so none of their LayerNorm either
            dropped += ["visual.prompt_norm.weight", "visual.prompt_norm.bias"]
        return {n: t for n, t in prompts.items() if n not in dropped}

    def on_device(prompts: Tensors) -> Tensors:
        return {n: t.to(case.device) for n, t in prompts.items()}

    same = None if learned is None else on_device(learned)

    def job(split: int) -> SplitData:
        train = Subset(images, case.quality, case.splits.train(split, case.shots))
        test = Subset(target_images, case.target.index["quality"].to_numpy(np.float64), case.tested.test(split))
        return SplitData(split, same or on_device(start(split)), train, test)

    return texts, job


def with_teachers(case: Case, method: Tune, texts: Texts, todo: list[SplitData]) -> list[SplitData | SplitResult]:
    """The jobs with the teachers that the method names: ``clip``, or for the "upper" control ``quality``.

    The latter is the same CLIP, adapted to ALL labels of the split's training side. So the method knows more than K labels,
    through its teacher: it is a control, not a rival. The teacher starts where the method starts, trains the published set
    (context, last blocks) without a rule, takes as many steps as the method will, and stops at its last epoch under any
    protocol: what it knows must not come from test labels.
    """
    if method.teacher == "clip":
        return list(todo)
    plain = method.model_copy(update={"train": ["context", "blocks"], "rule": "none", "teacher": "clip"})
    settings, out = case.params.adapt, list[SplitData | SplitResult]()
    for job in todo:
        everything = replace(job.train, rows=case.splits.train(job.split, None))
        steps, a_pass = (math.ceil(len(side.rows) / settings.batch) for side in (job.train, everything))
        epochs = max(1, round(settings.epochs * steps / a_pass))
        schedule = settings.model_copy(update={"select": "fixed", "epochs": epochs})
        # its scores are of no use: one picture, and none of the test side
        alone = replace(job, train=everything, test=replace(everything, rows=everything.rows[:1]), keep=True)
        (taught,) = finetune(case.backbone, texts, plain, schedule, [alone])
        out.append(taught if taught.failure else replace(job, teacher=taught.tensors))
    return out


def attention_panel(case: Case, method: Panel) -> Splitwise:
    """Attention-panel decoder on frozen tokens (DEIQT's idea): grmp/panel.py."""

    def one(split: int) -> SplitResult:
        return panel(
            case.backbone,
            method,
            case.source.images,
            case.quality,
            case.splits.train(split, case.shots),
            case.target.images,
            case.tested.test(split),
            (case.params.adapt.seed, split),
        )

    return each(one)


def student(case: Case, method: Distill) -> Splitwise:
    """A small CNN taught by an adapted CLIP (vision-language distillation's idea): grmp/distill.py."""
    teacher = case.params.methods[method.teacher]
    assert isinstance(teacher, Tune)  # params.Params sees to it
    taught = case.splits.learned()
    # the teacher stops at its last epoch under any protocol: what it knows must not come from test labels
    fixed = case.params.model_copy(update={"adapt": case.params.adapt.model_copy(update={"select": "fixed"})})
    teach = tune(replace(case, params=fixed, target=case.source, tested=taught), teacher)
    shape = case.backbone.shape

    def learn(split: int, taught_by: SplitResult) -> SplitResult:
        if taught_by.failure:
            return taught_by
        seed, rows, tested = (case.params.adapt.seed, split), taught.test(split), case.tested.test(split)
        network, result = distill.learn(
            case.source.images, rows, taught_by.scores, shape, method.fit, seed, case.device
        )
        if result.failure:
            return result
        return replace(result, scores=distill.predict(network, case.target.images, tested, shape, case.device))

    return lambda numbers: [learn(*pair) for pair in zip(numbers, teach(numbers), strict=True)]


def prepare(case: Case, name: str) -> Splitwise:
    """The function that runs splits of the method ``name``, given by their numbers."""
    method = case.params.methods[name]
    if isinstance(method, ZeroShot):
        return zero_shot(case, method)
    if isinstance(method, Ridge):
        return ridge(case, method)
    if isinstance(method, Panel):
        return attention_panel(case, method)
    if isinstance(method, Distill):
        return student(case, method)
    return tune(case, method)
