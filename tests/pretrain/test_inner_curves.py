"""What inner steps achieve, from pre-trained and from random prompts."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from grmp.clip import checkpoints
from grmp.clip.model import prompted_texts, random_prompts, tokenize
from grmp.errors import UserError
from grmp.params import load
from grmp.pretrain import inner_curves
from grmp.pretrain.meta import Inner
from tests import worlds


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small pipeline folder with random prompts in place of pre-trained ones."""
    folder = tmp_path_factory.mktemp("curves")
    worlds.build(folder)
    generator = torch.Generator().manual_seed(1)
    prompts = random_prompts(worlds.SHAPE, 3, 0, 4, "identity", generator)
    metadata = {"backbone": checkpoints.load(folder).sha256}
    checkpoints.save(folder / "models/prompts/fomaml.safetensors", prompts, metadata)
    return folder


def test_curves_have_a_row_per_start_type_and_count_and_repeat_their_bytes(world: Path):
    params = load(world / "params.yaml")
    inner_curves.measure(params, world, "fomaml")
    path = world / "results/inner_curves/fomaml.csv"
    first, table = path.read_bytes(), pd.read_csv(path)
    assert table.columns.tolist() == inner_curves.COLUMNS
    assert len(table) == 2 * 3 * 3  # starts, distortion types of both databases, counts
    assert dict(zip(table["database"], table["seen"], strict=True)) == {"pre": True, "target": False}
    assert table["query_loss"].between(0, 5).all()
    inner_curves.measure(params, world, "fomaml")
    assert path.read_bytes() == first
    with pytest.raises(UserError, match="variant 'nobody' is not defined"):
        inner_curves.measure(params, world, "nobody")


def test_a_walk_on_the_query_pictures_lowers_their_loss(world: Path):
    backbone = checkpoints.load(world)
    tokens = tokenize(prompted_texts(["high quality", "low quality"], 4))
    images = torch.from_numpy(np.load(world / "data/prepared/target/images.npy")[:8, :, :32, :32].copy())
    batch = images, torch.linspace(0, 1, 8)
    theta = random_prompts(worlds.SHAPE, 3, 0, 4, "identity", torch.Generator().manual_seed(1))
    inner = Inner(theta, "adam", 1e-2)
    found = inner_curves.walk(backbone, tokens, inner, [batch], batch, [0, 2, 8])
    assert [taken for taken, _, _ in found] == [0, 2, 8]
    losses = [loss for _, loss, _ in found]
    assert losses[2] < losses[0]
