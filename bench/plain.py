"""The plain recipe: what one writes first, on open_clip's own modules, and the oracle of the tests.

All tokens through every layer, 77 text positions, nothing kept, one split at a time, a forward for each of the two losses.
It computes what the released code computes (CLIP/model.py, forward_deep_prompt; finetune.py, train) without its departures.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from open_clip.model import CLIP, CLIPTextCfg, CLIPVisionCfg
from torch import Tensor, nn

from grmp.clip.model import Shape, Tensors, pixels, semantic_loss, task_loss
from grmp.clip.precision import reduced
from grmp.data.crops import centre, crop, draw_batches, draw_crops
from grmp.finetune.early_stopping import EarlyStopping
from grmp.finetune.gradient_rules import regularize
from grmp.finetune.types import SplitData, Texts
from grmp.params import Adapt


def build(shape: Shape, weights: Tensors) -> CLIP:
    """open_clip's model of this shape with these weights."""
    model = CLIP(
        embed_dim=shape.embed_dim,
        vision_cfg=CLIPVisionCfg(
            layers=shape.vision_layers,
            width=shape.vision_width,
            head_width=shape.vision_width // shape.vision_heads,
            patch_size=shape.patch_size,
            image_size=shape.image_size,
        ),
        text_cfg=CLIPTextCfg(width=shape.text_width, heads=shape.text_heads, layers=shape.text_layers),
        quick_gelu=shape.quick_gelu,
    )
    model.load_state_dict(weights)
    return model.eval()


class Prompted(nn.Module):
    """A CLIP with deep visual prompts and a text context, every tensor under its name in grmp.clip.model."""

    def __init__(self, model: CLIP, prompts: Tensors, quality_tokens: Tensor, dropout: float = 0.0) -> None:
        super().__init__()
        self.model, self.quality_tokens = model, quality_tokens
        self.prompts = nn.ParameterDict({n.replace(".", "/"): nn.Parameter(t.clone()) for n, t in prompts.items()})
        self.drop: Callable[[Tensor], Tensor] = partial(F.dropout, p=dropout)  # of each image's copy

    def named(self) -> dict[str, nn.Parameter]:
        """Every parameter under its name in grmp.clip.model."""
        own = {n.replace("/", "."): t for n, t in self.prompts.items()}
        return dict(self.model.named_parameters()) | own

    def encode_image(self, x: Tensor) -> Tensor:
        """(B, 3, S, S) normalised pixels -> unit-length embedding (B, E)."""
        p = {n.replace("/", "."): t for n, t in self.prompts.items()}
        raw = [p["visual.prompt_embeddings"], *p["visual.deep_prompt_embeddings"].split(1)]
        count, visual = raw[0].shape[1], self.model.visual
        h = visual._embeds(x)  # (B, L, D)
        for i, block in enumerate(visual.transformer.resblocks):
            patches = h[:, 1:] if i == 0 else h[:, 1 + count :]
            prompt = F.linear(raw[i], p["visual.prompt_proj.weight"], p["visual.prompt_proj.bias"])
            h = block(torch.cat([h[:, :1], self.drop(prompt.expand(len(x), -1, -1)), patches], dim=1))  # (B, L + P, D)
        if "visual.prompt_norm.weight" in p:
            norm = p["visual.prompt_norm.weight"], p["visual.prompt_norm.bias"]
            h = F.layer_norm(h, h.shape[-1:], *norm, eps=1e-6)
        return F.normalize(visual.ln_post(h)[:, 0] @ visual.proj, dim=-1)

    def encode_quality(self) -> Tensor:
        """The two quality texts with the context in front, all 77 positions -> (2, E)."""
        model, context = self.model, self.prompts["ctx"]
        x = model.token_embedding(self.quality_tokens)
        x = torch.cat([x[:, :1], context.expand(len(x), -1, -1), x[:, 1 + len(context) :]], dim=1)
        x = model.transformer(x + model.positional_embedding, attn_mask=model.attn_mask)
        x = model.ln_final(x)[torch.arange(len(x)), self.quality_tokens.argmax(-1)]
        return F.normalize(x @ model.text_projection, dim=-1)

    def quality(self, x: Tensor) -> Tensor:
        """(B, 2) quality logits."""
        return self.model.logit_scale.exp() * self.encode_image(x) @ self.encode_quality().T

    def scenes(self, x: Tensor, scene_tokens: Tensor) -> Tensor:
        """(B, C) scene logits."""
        text = self.model.encode_text(scene_tokens, normalize=True)
        return self.model.logit_scale.exp() * self.encode_image(x) @ text.T


def adapt_split(
    weights: Tensors,
    shape: Shape,
    texts: Texts,
    tuned: tuple[str, ...],
    settings: Adapt,
    job: SplitData,
    device: torch.device,
) -> np.ndarray:
    """One split by the published schedule (rule "published", lambda 5): the scores of its best epoch, (N test,).

    ``tuned`` are prefixes of what is trained. Crops, batches and the search are those of grmp, so that the work is the same.
    """
    student = Prompted(build(shape, weights), job.prompts, texts.quality).to(device)
    teacher = build(shape, weights).to(device)
    named = student.named()
    for name, tensor in named.items():
        tensor.requires_grad_(name.startswith(tuned))
    trained = {n: t for n, t in named.items() if t.requires_grad}
    optimizer = torch.optim.SGD(trained.values(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
    margin, rng = job.train.images.shape[-1] - shape.image_size, np.random.default_rng([settings.seed, job.split])
    search = EarlyStopping(settings, job.test.quality[job.test.rows])

    @torch.no_grad()
    def predict() -> np.ndarray:
        scores = []
        for rows in np.array_split(job.test.rows, -(-len(job.test.rows) // 64)):
            x = crop(job.test.images, centre(rows, margin), shape.image_size).to(device)
            with reduced(device, settings.precision):
                quality = student.quality(pixels(x, shape))
            scores.append(quality.float().softmax(-1)[:, 0].cpu().numpy())
        return np.concatenate(scores)

    search.update(predict(), -1)
    for epoch in range(settings.epochs):
        batches = draw_batches(job.train.rows, settings, rng)
        for number, members in enumerate(batches):
            rows = job.train.rows[members]
            crops = draw_crops(rows, margin, settings, len(batches), epoch, number, job.split)
            x = pixels(crop(job.train.images, crops, shape.image_size).to(device), shape)
            target = torch.from_numpy(job.train.quality[rows].astype(np.float32)).to(device)
            with torch.no_grad(), reduced(device, settings.precision):
                scenes = teacher.encode_text(texts.scenes, normalize=True)
                wanted = teacher.logit_scale.exp() * teacher.encode_image(x, normalize=True) @ scenes.T
            optimizer.zero_grad()
            with reduced(device, settings.precision):
                loss = task_loss(student.quality(x), target)
            loss.backward()
            g_d = {n: t.grad.clone() for n, t in trained.items() if t.grad is not None}
            optimizer.zero_grad()
            with reduced(device, settings.precision):
                loss = semantic_loss(student.scenes(x, texts.scenes), wanted)
            loss.backward()
            g_g = {n: t.grad.clone() for n, t in trained.items() if t.grad is not None}
            for name, gradient in regularize("published", g_d, g_g, 5.0).items():
                trained[name].grad = gradient
            optimizer.step()
        looked = epoch % settings.evaluate_every == settings.evaluate_every - 1
        over = search.update(predict() if looked else None, epoch)
        optimizer.param_groups[0]["lr"] = search.rate
        if over:
            break
    return search.best
