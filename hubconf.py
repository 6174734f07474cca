"""``torch.hub.load(REPOSITORY, "photo")``: a metric (N, 3, H, W) in [0, 1] -> quality (N,); see docs/hub.md."""

dependencies = ["torch", "open_clip", "safetensors", "simplejpeg", "PIL"]

from grmp.use.metric import Metric  # noqa: E402


def photo() -> Metric:
    """The shipped scorer for photographs."""
    return Metric()


def quality_model(file: str) -> Metric:
    """The model in a file that ``grmp train`` wrote."""
    return Metric(file)
