"""Few-shot adaptation: a split's K labelled pictures move the text context and the last blocks of both towers.

What is trained, the losses, the crops and the schedule follow finetune.py of the released code where the settings say
"published" and a sound protocol where they do not (params.Adapt; docs/departures.md, 8 to 13). The visual prompts and the
lower blocks are frozen, so the tokens in front of the first tuned block and the teacher's scene logits are kept per
(picture, crop) and computed once. Splits differ in nothing but their tuned tensors, pictures and draws, so that several can
be one batch (grmp.clip.vmap); each keeps its own seeds, learning rate and end.
"""

from collections.abc import Sequence

from grmp.clip.model import Backbone
from grmp.device import free_bytes
from grmp.finetune.loop import Together
from grmp.finetune.step import first_trained_block, tuned_names
from grmp.finetune.types import TEACHER_SCENE, Job, Outcome, Side, SplitFailure, Texts
from grmp.params import Adapt, Tune

__all__ = ["TEACHER_SCENE", "Job", "Outcome", "Side", "SplitFailure", "Texts", "adapt", "adapt_splits"]


def adapt(backbone: Backbone, texts: Texts, method: Tune, settings: Adapt, job: Job) -> Outcome:
    """One split alone.

    Raises
    ------
    SplitFailure
        If a loss is not finite.
    """
    (found,) = adapt_splits(backbone, texts, method, settings, [job])
    if isinstance(found, SplitFailure):
        raise found
    return found


def adapt_splits(
    backbone: Backbone, texts: Texts, method: Tune, settings: Adapt, jobs: Sequence[Job]
) -> list[Outcome | SplitFailure]:
    """Adapt to each split and score its test pictures; what fails (a loss that is not finite) hurts no other split.

    ``settings.splits_at_once`` splits are computed as one batch; 0 means one on a CPU, and on a GPU as many as fit by an
    estimate. Splits share a batch only if they have equally many labels. One at a time or together, the results are equal
    but for the order of float sums.
    """
    found: dict[int, Outcome | SplitFailure] = {}
    for labels in sorted({len(j.train.rows) for j in jobs}):
        equal = [i for i, j in enumerate(jobs) if len(j.train.rows) == labels]
        size = settings.splits_at_once or fitting(backbone, method, settings, labels)
        for group in (equal[i : i + size] for i in range(0, len(equal), size)):
            together = Together(backbone, texts, method, settings, [jobs[i] for i in group])
            found |= dict(zip(group, together.run(), strict=True))
    return [found[i] for i in range(len(jobs))]


def fitting(backbone: Backbone, method: Tune, settings: Adapt, labels: int) -> int:
    """Splits that fit into half of a GPU's free memory; one on a CPU, which is busy with one."""
    w, shape = backbone.weights, backbone.shape
    if w["logit_scale"].device.type == "cpu":
        return 1
    prefixes = tuned_names(shape, method.train, settings.tuned_blocks)
    values = sum(t.numel() for n, t in w.items() if n.startswith(prefixes))
    layers = shape.vision_layers - max(0, first_trained_block(shape, method.train, settings.tuned_blocks))
    tokens = (shape.image_size // shape.patch_size) ** 2 + 1
    # a value with its two gradients, their combination and the step; some 40 numbers per token, channel and block
    # stay for the backward pass (three LayerNorm and residual, seven of the attention, the wide half of the MLP three times)
    floats = 5 * values + 40 * min(settings.batch, labels) * tokens * shape.vision_width * (layers + 1)
    return max(1, int(free_bytes(w["logit_scale"].device) / 2 / (4 * floats)))
