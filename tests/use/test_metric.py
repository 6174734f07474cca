"""The metric scores tensors as `grmp score` scores files, and survives a round through a folder of the hub."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from grmp.finetune.scorer import QualityModel, load
from grmp.use.metric import Metric
from tests.conftest import ROOT


@pytest.fixture(scope="module")
def batch(photographs: Path) -> torch.Tensor:
    """(2, 3, 400, 600) in [0, 1]: a photograph and its blurred copy."""
    found = []
    for name in ("coffee", "coffee_blurred"):
        with Image.open(photographs / f"{name}.jpg") as image:
            found.append(torch.from_numpy(np.array(image)).permute(2, 0, 1) / 255)
    return torch.stack(found)


def test_tensors_score_as_files(model: QualityModel, batch: torch.Tensor, photographs: Path):
    metric, files = Metric(model), [photographs / "coffee.jpg", photographs / "coffee_blurred.jpg"]
    expected = pytest.approx(model.score(files), abs=1e-6)
    assert metric(batch).numpy() == expected
    assert torch.cat([metric(file) for file in files]).numpy() == expected
    assert metric(batch[:, :1]).shape == (2,)  # grey
    assert (metric(batch)[0] > metric(batch)[1]) != metric.lower_better


def test_what_overshoots_as_enlarged_pixels_do_is_clipped(model: QualityModel, batch: torch.Tensor):
    beyond = batch + 0.45 * (batch == 1) - 0.45 * (batch == 0)
    assert not torch.equal(beyond, batch)
    assert torch.equal(Metric(model)(beyond), Metric(model)(batch))


@pytest.mark.parametrize(
    "change", [lambda x: 255 * x, lambda x: (255 * x).byte(), lambda x: x + torch.nan, lambda x: 2 * x - 1]
)
def test_tensors_on_another_scale_are_refused(model: QualityModel, batch: torch.Tensor, change):
    with pytest.raises(ValueError, match="finite and in"):
        Metric(model)(change(batch))


@pytest.mark.parametrize("given", [str, load])
def test_a_folder_of_the_hub_gives_it_back(trained: Path, batch: torch.Tensor, tmp_path: Path, given):
    Metric(given(trained)).save_pretrained(tmp_path / "m")
    assert {"model.safetensors", "README.md"} <= {path.name for path in (tmp_path / "m").iterdir()}
    assert str(trained) not in (tmp_path / "m/config.json").read_text()
    again = Metric.from_pretrained(tmp_path / "m")
    assert torch.equal(again(batch), Metric(trained)(batch))
    assert again.model.scale.high == 5


def test_torch_hub_finds_it(batch: torch.Tensor):
    assert torch.equal(torch.hub.load(str(ROOT), "photo", source="local")(batch), Metric()(batch))


def test_pyiqa_accepts_it_as_one_of_its_own(batch: torch.Tensor):
    pyiqa = pytest.importorskip("pyiqa", exc_type=ImportError)
    from pyiqa.default_model_configs import DEFAULT_CONFIGS
    from pyiqa.utils.registry import ARCH_REGISTRY

    ARCH_REGISTRY.register(Metric)
    options = {name: getattr(Metric, name) for name in ("metric_mode", "lower_better", "score_range")}
    DEFAULT_CONFIGS["grmp"] = {"metric_opts": {"type": "Metric"}, **options}
    theirs = pyiqa.create_metric("grmp", device="cpu")
    assert torch.equal(theirs(batch), Metric()(batch))
    assert (theirs.lower_better, theirs.metric_mode) == (False, "NR")
