"""``torch.hub.load(REPOSITORY, "photo")``: a metric (N, 3, H, W) in [0, 1] -> quality (N,); see docs/hub.md."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from grmp.use.metric import Metric

dependencies = [
    "torch",
    "numpy",
    "huggingface_hub",
    "safetensors",
    "simplejpeg",
    "tqdm",
    "PIL",
]  # torch.hub checks them


def photo() -> "Metric":
    """The shipped scorer for photographs."""
    from grmp.use.metric import Metric

    return Metric()


def quality_model(file: str) -> "Metric":
    """The model in a file that ``grmp train`` wrote."""
    from grmp.use.metric import Metric

    return Metric(file)
