"""A whole miniature world, made once and copied for each test that changes it."""

import shutil
from pathlib import Path

import pytest

from grmp.collect import collect
from grmp.params import load
from grmp.report.notebook import execute
from grmp.report.site import build
from tests.report.sample import NOTEBOOKS, make_world


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


@pytest.fixture(scope="session")
def executed(collected: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The whole world with its notebooks and its site; do not change it."""
    world = shutil.copytree(collected, tmp_path_factory.mktemp("executed") / "world")
    for name in NOTEBOOKS:
        execute(name, world / "params.yaml")
    build(load(world / "params.yaml"), world / "results")
    return world
