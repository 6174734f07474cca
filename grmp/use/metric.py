"""A quality model as other projects expect one: a metric as in pyiqa, on Hugging Face's hub, in ``torch.hub`` (hubconf.py)."""

from pathlib import Path
from typing import Any

import torch
from huggingface_hub import ModelHubMixin, snapshot_download
from torch import Tensor

from grmp.finetune.scorer import QualityModel, load

FILE = "model.safetensors"


class Metric(torch.nn.Module, ModelHubMixin, library_name="grmp", tags=["image-quality-assessment"]):
    """A no-reference metric with pyiqa's interface; ``push_to_hub`` and ``from_pretrained`` are the mixin's.

    Images are rounded to 8 bits, as in a file, and scored as ``grmp score`` does. There is no gradient.
    """

    metric_mode, lower_better, score_range = "NR", False, "0, 1"

    def __init__(self, model: QualityModel | str | Path = "photo") -> None:  # noqa: D107
        super().__init__()
        self._hub_mixin_config = {}  # the mixin would write ``model`` to config.json: a local path, or no JSON at all
        self.model = model if isinstance(model, QualityModel) else load(model)
        self.metric_name = str(self.model.card.get("method", "photo"))

    def forward(self, target: Tensor | str | Path, ref: Any = None) -> Tensor:
        """(N, 3 or 1, H, W) in [0, 1], or a file -> quality (N,), higher is better; ``ref`` is not used."""
        if not isinstance(target, Tensor):
            return torch.from_numpy(self.model.score([target])).float()
        if not (target - 0.5).abs().max() <= 1:  # also NaN; bicubic enlargement overshoots by up to 0.45
            raise ValueError("pixels must be finite and in [0, 1]; 0 to 255 and -1 to 1 are other scales")
        images = (target.detach().clamp(0, 1) * 255).round().byte().expand(-1, 3, -1, -1)
        scores = self.model.score(list(images.permute(0, 2, 3, 1).cpu().numpy()))
        return torch.from_numpy(scores).float().to(target.device)

    def _save_pretrained(self, save_directory: Path) -> None:
        self.model.save(save_directory / FILE)

    @classmethod
    def _from_pretrained(cls, *, model_id: str, **given: Any) -> "Metric":
        folder = Path(model_id)
        if not folder.is_dir():
            known = ("revision", "cache_dir", "force_download", "local_files_only", "token")
            folder = Path(snapshot_download(model_id, **{name: given[name] for name in known if name in given}))
        return cls(folder / FILE)
