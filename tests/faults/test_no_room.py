"""A disk that is full, a folder that is read-only: one clear line, nothing half-written, and the next start goes on."""

import re
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from grmp import params
from grmp.errors import UserError
from grmp.experiments.run import run
from tests import worlds
from tests.faults import copies


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    return worlds.build(tmp_path_factory.mktemp("world") / "w", run={"few_shot": {"methods": ["ridge"]}})


@pytest.fixture
def world(pristine, tmp_path):
    return copies.copy(pristine, tmp_path)


@contextmanager
def mounted(place: Path, options: str) -> Iterator[None]:
    """A file system of its own; skips where this process may not mount."""
    place.mkdir(exist_ok=True)
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)


def compute(file: Path) -> bool:
    loaded = params.load(file)
    return run(loaded, file.parent, loaded.run.run_keys()[0], progress=False)[0]


def told(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        compute(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_full_disk_and_then_room_again(world):
    results = world.parent / "results"
    with mounted(results, "size=16k"):
        assert "No space left on device" in told(world)
        assert not list(results.rglob("run.json"))
        subprocess.run(["mount", "-o", "remount,size=4m", str(results)], check=True)
        assert compute(world)
        assert len(list(results.rglob("run.json"))) == 1
        assert not copies.strays(results)


def test_read_only_results(world):
    with mounted(world.parent / "results", "ro"):
        assert re.search("Read-only file system.* must be writable", told(world))


def test_a_write_that_is_cut_short(world):
    """A limit on the size of files stands for a full disk where nothing can be mounted."""
    loaded = params.load(world)
    key = loaded.run.run_keys()[0]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (512, before[1]))
    try:
        with pytest.raises(UserError, match=r"cannot write .*: File too large; free some space") as caught:
            run(loaded, world.parent, key, progress=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert "\n" not in str(caught.value)
    assert not key.folder(world.parent).exists()
    assert run(loaded, world.parent, key, progress=False)[0]
