"""A disk that is full, a folder that is read-only: one clear line, nothing half-written, and the next start goes on."""

import os
import resource
import subprocess
import sys
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


def command(file: Path) -> subprocess.CompletedProcess:
    line = [
        sys.executable,
        "-c",
        "from grmp.cli import main; main()",
        "run",
        "target",
        "ridge",
        "6",
        "--params",
        str(file),
    ]
    return subprocess.run(line, capture_output=True, text=True, check=False)


def lines(done: subprocess.CompletedProcess) -> str:
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    return done.stdout + done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_a_full_disk_and_then_room_again(world):
    results = world.parent / "results"
    mount(results, "-t", "tmpfs", "-o", "size=16k", "tmpfs")
    try:
        told = lines(command(world))
        assert "No space left on device" in told
        assert not list(results.rglob("run.json"))
        subprocess.run(["mount", "-o", "remount,size=4m", str(results)], check=True)
        done = command(world)
        assert done.returncode == 0, done.stderr
        assert len(list(results.rglob("run.json"))) == 1
        assert not [p for p in results.rglob(".*") if p.suffix in (".partial", ".old")]
    finally:
        subprocess.run(["umount", str(results)], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting needs root")
def test_read_only_results(world):
    results = world.parent / "results"
    mount(results, "-t", "tmpfs", "-o", "ro", "tmpfs")
    try:
        told = lines(command(world))
        assert "Read-only file system" in told
        assert "must be writable" in told
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
