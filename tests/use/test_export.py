"""The exported graph scores as the model does, in any batch, and a program without torch finds all it needs in the file."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from skimage import data
from typer.testing import CliRunner

from grmp.cli import app
from grmp.finetune.scorer import QualityModel
from tests.conftest import ROOT

PAGE = ROOT / "docs/export.md"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "photo.onnx"
    assert CliRunner().invoke(app, ["export", "--onnx", str(path)], catch_exceptions=False).exit_code == 0
    return path


def test_fifty_images_score_the_same(exported: Path, model: QualityModel):
    rng, size = np.random.default_rng(0), model.clip.shape.image_size
    photographs = [data.astronaut(), data.coffee(), data.chelsea(), data.rocket()]
    crops = []
    for i in range(50):
        photograph = photographs[i % 4]
        top, left = (int(rng.integers(0, side - size + 1)) for side in photograph.shape[:2])
        crops.append(photograph[top : top + size, left : left + size].transpose(2, 0, 1))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1  # more would wait for one another on two cores
    images, session = np.stack(crops), onnxruntime.InferenceSession(exported, options)
    batches = np.split(images, [1, 20])  # of 1, 19 and 30 images
    quality = np.concatenate([session.run(["quality"], {"images": batch})[0] for batch in batches])
    assert quality == pytest.approx(model.quality(images), abs=1e-4)
    assert np.ptp(quality) > 0.1


def test_the_script_of_the_page_needs_no_torch(exported: Path, photographs: Path, model: QualityModel, tmp_path: Path):
    (script,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    (tmp_path / "s.py").write_text("import sys\nsys.modules['torch'] = None\n" + script)
    image = photographs / "coffee.jpg"
    found = subprocess.run(
        [sys.executable, "s.py", str(exported), str(image)], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    shown = json.loads(found.stdout)
    assert shown["quality"] == pytest.approx(model.score([image])[0], abs=1e-3)
    expected = model.judge(np.array([shown["quality"]]))
    assert [shown["low"], shown["high"]] == pytest.approx([expected["low"][0], expected["high"][0]], abs=1e-3)
