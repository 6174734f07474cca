"""A miniature world, made once for all processes of a test run and copied for each test that changes it."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from filelock import FileLock

from grmp.params import load
from grmp.report.notebook import execute
from grmp.report.results import Results
from grmp.report.site import build
from tests.report.sample import (
    NOTEBOOKS,
    OTHERS,
    add_ablations,
    make_settings,
    make_world,
    recollect,
    run_here,
    with_ablations,
)


@pytest.fixture(scope="session")
def once(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[str, Callable[[Path], object]], Path]:
    """Makes a folder in the first process of a test run that asks for its name; do not change what is in it."""
    base = tmp_path_factory.getbasetemp()
    base = base if worker_id == "master" else base.parent

    def made(name: str, make: Callable[[Path], object]) -> Path:
        with FileLock(base / f"{name}.lock"):
            if not (base / name).exists():
                make(beside := base / f"{name}.partial")
                beside.rename(base / name)
        return base / name

    return made


@pytest.fixture(scope="session")
def collected(once) -> Path:
    """The miniature world after ``collect``."""
    return once("collected", lambda folder: recollect(make_world(folder)))


@pytest.fixture(scope="session")
def whole(collected: Path) -> Results:
    """The same, opened."""
    return Results.open(collected)


@pytest.fixture(scope="session")
def empty(once) -> Results:
    """A world with ablations in which nothing has been run."""
    return Results.open(once("empty", lambda folder: with_ablations(make_settings(folder))))


@pytest.fixture(scope="session")
def ablated(collected: Path, once) -> Results:
    """The miniature world with ablations."""
    return Results.open(once("ablated", lambda folder: recollect(add_ablations(shutil.copytree(collected, folder)))))


@pytest.fixture
def world(collected: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(collected, tmp_path / "world")


@pytest.fixture(scope="session")
def executed(collected: Path, once) -> Path:
    """The whole world with its tables and figures."""

    def make(folder: Path) -> None:
        shutil.copytree(collected, folder)
        for name in NOTEBOOKS:
            execute(name, folder / "params.yaml")
        notes = {name: run_here(name, folder) for name in OTHERS}
        (folder / "notes.json").write_text(json.dumps(notes))

    return once("executed", make)


@pytest.fixture(scope="session")
def built(executed: Path, once) -> Path:
    """The same with its site."""

    def make(folder: Path) -> None:
        shutil.copytree(executed, folder)
        build(load(folder / "params.yaml"), folder / "results", packages=["clip"])

    return once("built", make)
