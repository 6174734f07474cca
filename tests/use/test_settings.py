"""Training without a pipeline folder: settings and CLIP come with the package."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file
from typer.testing import CliRunner

from grmp.cli import app
from grmp.clip import checkpoints, shipped
from grmp.data.custom import read
from grmp.data.splits import Splits
from grmp.errors import UserError
from grmp.experiments import crossval
from grmp.finetune.scorer import load
from grmp.methods import tune
from grmp.use.settings import DEFAULT, METHOD, own, settings_of


@pytest.fixture
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Ten images with their ratings; returns the table."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    (tmp_path / "photos").mkdir()
    for i in range(10):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(tmp_path / f"photos/{i}.png")
    table = pd.DataFrame({"image": [f"{i}.png" for i in range(10)], "mos": range(1, 11)})
    table.to_csv(tmp_path / "photos/ratings.csv", index=False)
    return tmp_path / "photos/ratings.csv"


def test_training_needs_no_pipeline_folder(photos: Path):
    found = CliRunner().invoke(app, ["train", str(photos), "--method", "ridge", "--folds", "2"], catch_exceptions=False)
    assert "10 rated images of " in found.output
    card = load(photos.with_suffix(".safetensors")).card
    assert (card["method"], card["protocol"]) == ("ridge", "sound")
    assert [p.name for p in photos.parent.parent.iterdir() if p.is_file()] == []
    assert sorted(p.name for p in photos.parent.iterdir() if not p.name.endswith("png")) == [
        "ratings.csv",
        "ratings.safetensors",
    ]


def test_the_default_is_the_stronger_clip_and_a_method_that_it_has_everything_for():
    params, root = own()
    assert params.backbone.name == DEFAULT
    assert root.name == DEFAULT
    assert params.learned_start(METHOD) == ""


def test_dead_ends_name_the_way_out():
    with pytest.raises(UserError, match=r"no CLIP 'large'; --backbone is one of .*small-rated, openai"):
        own("large")


def test_grmp_starts_from_the_prompts_of_the_package(photos: Path):
    params, root = own("small")
    rated = read(photos, params.data.size, params.data.aspect, None, True)
    start = crossval.begin(params, root, rated, Splits(np.arange(10)[None]))
    _, data = tune.split_data(crossval.context_of(start, "grmp"), params.methods["grmp"])
    kept = load_file(shipped.FOLDER / "small/fomaml.safetensors")
    assert all(t.float().equal(data(0).prompts[n]) for n, t in kept.items())


def test_a_changed_number_of_a_model_is_reported_where_training_continues(tmp_path: Path):
    scale = {"low": 1, "high": 5, "higher_better": True}
    checkpoints.save(path := tmp_path / "m.safetensors", {"text": torch.zeros(3)}, {"method": "ridge", "scale": scale})
    assert settings_of(path) == ("", "ridge", (1, 5), False)
    path.write_bytes(path.read_bytes().replace(rb"\"high\": 5", rb"\"high\": 7"))
    with pytest.raises(UserError, match="digest"):
        settings_of(path)
