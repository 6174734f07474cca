"""A whole miniature world, made once and copied for each test that changes it."""

import shutil
from pathlib import Path

import pytest

from grmp.collect import collect
from grmp.params import load
from tests.report.sample import make_world


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature world after ``collect``; do not change it."""
    folder = make_world(tmp_path_factory.mktemp("world"))
    collect(load(folder / "params.yaml"), folder / "results")
    return folder


@pytest.fixture
def world(collected: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(collected, tmp_path / "world")
