"""A whole miniature world, made once and copied for each test that changes it."""

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from filelock import FileLock

from grmp.params import load
from grmp.pool import work
from grmp.report.collect import collect
from grmp.report.notebook import execute
from grmp.report.results import Results
from grmp.report.site import build
from tests.report.sample import NOTEBOOKS, OTHERS, add_ablations, make_world, run_here


@pytest.fixture(scope="session")
def collected(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The miniature world after ``collect``; do not change it."""
    folder = make_world(tmp_path_factory.mktemp("world"))
    collect(load(folder / "params.yaml"), folder / "results")
    return folder


@pytest.fixture(scope="session")
def ablated(collected: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Results:
    """The miniature world with ablations, made once for all processes of a test run; do not change it."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "ablated"
    with FileLock(folder.with_suffix(".lock")):
        if not folder.exists():
            beside = shutil.copytree(collected, folder.with_suffix(".partial"), dirs_exist_ok=True)
            add_ablations(beside)
            collect(load(beside / "params.yaml"), beside / "results")
            beside.rename(folder)
    return Results.open(folder)


@pytest.fixture
def world(collected: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return shutil.copytree(collected, tmp_path / "world")


@pytest.fixture(scope="session")
def executed(collected: Path, tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The whole world with its tables and figures, made once for all processes of a test run; do not change it."""
    base = tmp_path_factory.getbasetemp()
    world = (base if worker_id == "master" else base.parent) / "executed"
    with FileLock(world.with_suffix(".lock")):
        if not world.exists():
            beside = shutil.copytree(collected, world.with_suffix(".partial"), dirs_exist_ok=True)
            # two at a time: the other process of the test run waits for them, too
            ended = list(work(partial(execute, params_file=beside / "params.yaml"), NOTEBOOKS, [None, None]))
            assert {state for _, state, _ in ended} == {"done"}, ended
            notes = {name: run_here(name, beside) for name in OTHERS}
            (beside / "notes.json").write_text(json.dumps(notes))
            beside.rename(world)
    return world


@pytest.fixture(scope="session")
def built(executed: Path) -> Path:
    """The same with its site; do not change it."""
    world = executed.with_name("built")
    with FileLock(world.with_suffix(".lock")):
        if not world.exists():
            beside = shutil.copytree(executed, world.with_suffix(".partial"), dirs_exist_ok=True)
            build(load(beside / "params.yaml"), beside / "results", packages=["clip"])
            beside.rename(world)
    return world
