"""The ``backbone`` stage; weights of open_clip are built in test_pretrained.py."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from grmp.clip import checkpoints, shipped
from grmp.clip.build import build
from grmp.clip.model import MEAN_STD
from grmp.errors import UserError
from grmp.params import ShippedBackbone


def test_the_backbone_stage_writes_a_shipped_model(tmp_path, capsys):
    name = shipped.names()[0]
    settings = ShippedBackbone(source="shipped", name=name, normalize="clip")
    build(SimpleNamespace(backbone=settings), tmp_path)
    assert "the settings use" not in capsys.readouterr().out  # its own statistics
    build(SimpleNamespace(backbone=settings.model_copy(update={"normalize": "imagenet"})), tmp_path)
    assert capsys.readouterr().out.endswith(f"standard deviation {MEAN_STD['lite0'][1]}\n")  # whatever the settings say
    written, direct = checkpoints.load(tmp_path, normalize="imagenet"), shipped.load(name)
    assert written.shape == replace(direct.shape, normalize="imagenet")
    torch.testing.assert_close(written.weights, direct.weights, rtol=0, atol=0)
    assert json.loads((tmp_path / "results/backbone.json").read_text())["sha256"] == direct.sha256
    with pytest.raises(UserError, match=r"--from mine\.safetensors: backbone\.source is shipped"):
        build(SimpleNamespace(backbone=settings), tmp_path, Path("mine.safetensors"))
