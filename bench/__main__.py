"""`make bench`: the plain recipe and ours do the same work in one run; bench/results/<machine>.csv.

    python -m bench [--device cuda] [--repeats 5] [--images 16] [--shots 50]

About 20 minutes on 2 CPU cores. ViT-B/16 with seeded weights and 100 prompts, so that size and speed are the paper's.
"""

import argparse
import platform
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from bench import plain
from bench.measure import alternate, peak_flops, peak_memory
from grmp import adapt, clip, meta, step
from grmp.params import Variant
from grmp.regularize import regularize
from tests.golden import weights

SHAPE = clip.Shape(512, 224, 16, 768, 12, 12, 512, 12, 8, True, "imagenet")
PROMPTS, TUNED, RATE, STRENGTH = 100, 4, 1e-3, 5.0
SCENES = ["animal", "cityscape", "human", "indoor", "landscape", "night", "plant", "still_life", "others"]
REPTILE = Variant(reset="task", query="inner", outer="average", order=0, inner="adam", inner_rate=1e-4, outer_rate=1e-2)
Recipe = Callable[[], object]


class Setting:
    """Weights, texts and pictures that both recipes use."""

    def __init__(self, device: torch.device, images: int) -> None:
        place = {"device": device}
        self.device = device
        self.base = {n: t.to(**place) for n, t in weights.clip_weights(SHAPE).items()}
        self.prompts = {n: t.to(**place) for n, t in weights.prompts(SHAPE, PROMPTS).items()}
        self.texts = adapt.Texts(
            clip.tokenize(clip.prompted_texts(["high quality", "low quality"], 4)).to(**place),
            clip.tokenize([adapt.TEACHER_SCENE.format(s) for s in SCENES]).to(**place),
        )
        draw = torch.randint(
            0, 256, (images, 3, 224, 224), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
        )
        self.x = clip.pixels(draw.to(**place), SHAPE)
        self.target = torch.linspace(0, 1, images).to(**place)
        self.plain = plain.Prompted(plain.build(SHAPE, self.base), self.prompts, self.texts.quality).to(device)
        self.teacher = plain.build(SHAPE, self.base).to(device)


def evaluation(s: Setting) -> tuple[dict[str, Recipe], Recipe]:
    """Scores of a batch of test pictures."""
    p = s.base | s.prompts

    @torch.no_grad()
    def ours() -> torch.Tensor:
        return clip.logits(
            p, clip.image_embedding(p, s.x, SHAPE), clip.text_embedding(p, s.texts.quality, SHAPE, p["ctx"])
        )

    @torch.no_grad()
    def theirs() -> torch.Tensor:
        return s.plain.quality(s.x)

    return {"plain": theirs, "ours": ours}, lambda: float((ours() - theirs()).abs().max())


def adaptation(s: Setting) -> tuple[dict[str, Recipe], Recipe]:
    """One epoch of few-shot adaptation (one step on all K pictures), features warm in our case."""
    tuned, frozen = step.split_tuned(s.base | s.prompts, step.tuned_names(SHAPE, ("context", "blocks"), TUNED))
    first = SHAPE.vision_layers - TUNED
    named = s.plain.named()
    for n, t in named.items():
        t.requires_grad_(n in tuned)
    with torch.no_grad():
        tokens = clip.image_blocks(frozen, clip.embed_patches(frozen, s.x), SHAPE, 0, first)
        teacher_text = clip.text_embedding(s.base, s.texts.scenes, SHAPE)
        kept = clip.logits(s.base, clip.image_embedding(s.base, s.x, SHAPE), teacher_text)

    def stepped(params: dict[str, torch.Tensor], g_d: clip.Tensors, g_g: clip.Tensors) -> clip.Tensors:
        gradients = regularize("published", g_d, g_g, STRENGTH)
        return {n: params[n] - RATE * g for n, g in gradients.items()}

    def ours() -> clip.Tensors:
        losses = step.losses(frozen | tuned, tokens, first, s.texts, s.target, kept, SHAPE)
        return stepped(tuned, *step.gradients(*losses, tuned))

    def theirs() -> clip.Tensors:
        with torch.no_grad():
            seen = s.teacher.encode_image(s.x, normalize=True)
            scenes = s.teacher.encode_text(s.texts.scenes, normalize=True)
            teacher = s.teacher.logit_scale.exp() * seen @ scenes.T
        both = []
        for loss in ("task", "semantic"):
            s.plain.zero_grad(set_to_none=True)
            if loss == "task":
                clip.task_loss(s.plain.quality(s.x), s.target).backward()
            else:
                clip.semantic_loss(s.plain.scenes(s.x, s.texts.scenes), teacher).backward()
            both.append({n: named[n].grad.clone() for n in tuned if named[n].grad is not None})
        return stepped({n: named[n].detach() for n in tuned}, *both)

    def difference() -> float:
        a, b = ours(), theirs()
        return max(float((a[n] - b[n]).detach().abs().max()) for n in a)

    return {"plain": theirs, "ours": ours}, difference


def meta_training(s: Setting) -> tuple[dict[str, Recipe], Recipe]:
    """One support step and one query step of the released inner loop (Adam, prompts only), dropout off."""
    named = s.plain.named()
    for n, t in named.items():
        t.requires_grad_(n in s.prompts)

    def loss(theta: clip.Tensors, batch: meta.Batch) -> torch.Tensor:
        p = s.base | theta
        text = clip.text_embedding(p, s.texts.quality, SHAPE, p["ctx"])
        return clip.task_loss(clip.logits(p, clip.image_embedding(p, batch[0], SHAPE), text), batch[1])

    batch = s.x, s.target

    def ours() -> clip.Tensors:
        inner = meta.Inner(s.prompts, REPTILE.inner, REPTILE.inner_rate)
        return meta.visit(s.prompts, inner, [(batch, batch)], loss, REPTILE).direction

    def theirs() -> clip.Tensors:
        with torch.no_grad():
            for n, t in s.prompts.items():
                named[n].copy_(t)
        optimizer = torch.optim.Adam([named[n] for n in s.prompts], lr=REPTILE.inner_rate)
        for _ in range(2):
            optimizer.zero_grad()
            clip.task_loss(s.plain.quality(s.x), s.target).backward()
            optimizer.step()
        return {n: t - named[n].detach() for n, t in s.prompts.items()}

    def difference() -> float:
        a, b = ours(), theirs()
        return max(float((a[n] - b[n]).detach().abs().max()) for n in a)

    return {"plain": theirs, "ours": ours}, difference


WORK = {"evaluation": evaluation, "adaptation": adaptation, "meta_training": meta_training}


def main() -> None:
    """Measure, print, write the csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--images", type=int, default=16)
    parser.add_argument("--shots", type=int, default=50)
    parser.add_argument("--work", nargs="*", default=sorted(WORK))
    given = parser.parse_args()
    device = torch.device(given.device)
    machine = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    )
    rows = []
    for name in given.work:
        count = given.shots if name == "adaptation" else given.images
        setting = Setting(device, count)
        peak = peak_flops(device, torch.float32, 2048 if device.type == "cpu" else 8192)
        recipes, difference = WORK[name](setting)
        apart = difference()
        found, ratios = alternate(recipes, device, given.repeats)
        for recipe, m in found.items():
            rows.append(
                {
                    "work": name,
                    "recipe": recipe,
                    "images": count,
                    "seconds": m.seconds,
                    "images_per_second": count / m.seconds,
                    "gflop": m.flops / 1e9,
                    "share_of_peak": m.flops / m.seconds / peak,
                    "ratio": np.median(ratios) if recipe == "ours" else 1.0,
                    "ratio_lowest": min(ratios) if recipe == "ours" else 1.0,
                    "ratio_highest": max(ratios) if recipe == "ours" else 1.0,
                    "largest_difference": apart,
                    "peak_memory_mb": peak_memory(device) / 2**20,
                    "peak_gflops": peak / 1e9,
                    "threads": torch.get_num_threads(),
                    "machine": machine,
                }
            )
        print(pd.DataFrame(rows[-2:]).drop(columns=["machine", "threads"]).to_string(index=False), flush=True)
    path = Path(__file__).parent / "results" / f"{device.type}.csv"
    path.parent.mkdir(exist_ok=True)
    pd.DataFrame(rows).to_csv(path, index=False, float_format="%.6g", lineterminator="\n")
    print(f"written: {path}")


if __name__ == "__main__":
    main()
