"""A disk that is full, a folder that is read-only: one clear line, nothing half-written, and the next start goes on."""

import os
import re
import resource
import subprocess
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


def mount(place: Path, *options: str) -> None:
    """A file system of its own; skips where this process may not mount."""
    place.mkdir(exist_ok=True)
    if subprocess.run(["mount", *options, str(place)], capture_output=True, check=False).returncode:
        pytest.skip("mounting a small file system needs root")


def compute(file: Path) -> bool:
    loaded = params.load(file)
    return run(loaded, file.parent, loaded.run.run_keys()[0], progress=False)[0]


def told(file: Path) -> str:
    with pytest.raises(UserError) as caught:
        compute(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_and_then_room_again(world):
    results = world.parent / "results"
    mount(results, "-t", "tmpfs", "-o", "size=16k", "tmpfs")
    try:
        assert "No space left on device" in told(world)
        assert not list(results.rglob("run.json"))
        subprocess.run(["mount", "-o", "remount,size=4m", str(results)], check=True)
        assert compute(world)
        assert len(list(results.rglob("run.json"))) == 1
        assert not [p for p in results.rglob(".*") if p.suffix in (".partial", ".old")]
    finally:
        subprocess.run(["umount", str(results)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_read_only_results(world):
    results = world.parent / "results"
    mount(results, "-t", "tmpfs", "-o", "ro", "tmpfs")
    try:
        assert re.search("Read-only file system.* must be writable", told(world))
    finally:
        subprocess.run(["umount", str(results)], check=True)


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
