"""``grmp export``: a quality model as one ONNX file, for programs without torch (docs/export.md)."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import onnx
import torch
from torch import Tensor
from tqdm import tqdm

from grmp.clip import stem
from grmp.clip.model import pixels
from grmp.files import whole
from grmp.finetune.scorer import QualityModel
from grmp.finetune.trust import LEVEL, half_width

OPSET = 18


class _Graph(torch.nn.Module):
    """Pixels -> quality and embedding; normalisation and the embeddings of the texts are constants of the graph."""

    def __init__(self, model: QualityModel) -> None:
        super().__init__()
        # onnxruntime refuses a graph in which the weights of a convolution are padded
        self.model = replace(model, clip=replace(model.clip, weights=stem.padded(model.clip.weights)))

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        logit, embedding = self.model.logit_and_embedding(pixels(images, self.model.clip.shape))
        return logit.sigmoid(), embedding


@torch.no_grad()
def export(model: QualityModel, out: Path) -> None:
    """Write ``images`` (N, 3, S, S) uint8 -> ``quality`` (N,) and ``embedding`` (N, E); metadata say how to prepare images."""
    logging.getLogger("onnxscript").setLevel(logging.ERROR)
    shape, example = model.clip.shape, torch.zeros((2, 3, *[model.clip.shape.image_size] * 2), dtype=torch.uint8)
    with tqdm(total=1, desc="trace the model", leave=False, disable=None):  # one call, of ten seconds
        program = torch.onnx.export(
            _Graph(model).eval(),
            (example,),
            dynamo=True,
            verbose=False,
            opset_version=OPSET,
            input_names=["images"],
            output_names=["quality", "embedding"],
            dynamic_shapes=({0: torch.export.Dim("batch")},),
        )
    assert program is not None  # it is None only when the exporter writes the file itself
    proto = program.model_proto
    how = {"resize": model.card["size"], "aspect": model.card["aspect"], "crop": shape.image_size, "filter": "bicubic"}
    entries = {
        "preprocessing": how,
        "scale": model.card["scale"],
        "text": model.text.tolist(),
        "sha256": model.card["sha256"],
    }
    if (width := half_width(model.card)) is not None:
        entries["interval"] = {"level": LEVEL, "half_width": width}
    onnx.helper.set_model_props(proto, {name: json.dumps(value) for name, value in entries.items()})
    with whole(out) as beside:
        onnx.save(proto, str(beside))
