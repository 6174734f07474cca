"""A piece of work has one owner; a killed owner leaves nothing behind; a place without locks is named."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from grmp.errors import UserError
from grmp.locks import Locked, lock

HOLD = """
import sys, time
from pathlib import Path
from grmp.locks import lock
with lock(Path(sys.argv[1]), "a-b-1"):
    print("mine", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def other(tmp_path):
    """Another process that owns a-b-1."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.wait()
    process.stdout.close()


def test_one_owner_and_nothing_to_remove_after_a_kill(tmp_path, other):
    with pytest.raises(Locked), lock(tmp_path, "a-b-1", wait=False):
        pass
    with lock(tmp_path, "a-b-2", wait=False):  # another piece of work is free
        pass
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with lock(tmp_path, "a-b-1", wait=False):
        pass


def test_waits_for_the_owner_and_says_so(tmp_path, other, capsys):
    ending = subprocess.Popen(["sh", "-c", f"sleep 0.6; kill -9 {other.pid}"])
    start = time.monotonic()
    with lock(tmp_path, "a-b-1"):
        assert time.monotonic() - start > 0.3
    ending.wait()
    assert "a-b-1: another process is working on it" in capsys.readouterr().out


def test_an_exception_gives_it_back(tmp_path):
    with pytest.raises(ZeroDivisionError), lock(tmp_path, "x"):
        raise ZeroDivisionError
    with lock(tmp_path, "x", wait=False):
        pass


def test_a_place_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "results").write_text("in the way")
    with (
        pytest.raises(UserError, match=r"cannot lock .*results/partial/locks/x.lock: .*must be writable") as caught,
        lock(tmp_path, "x"),
    ):
        pass
    assert "\n" not in str(caught.value)


def test_a_file_system_without_locks_is_named_not_worked_around(tmp_path, monkeypatch):
    def none(*_):
        raise OSError(errno.ENOSYS, "Function not implemented")

    monkeypatch.setattr(fcntl, "flock", none)
    with pytest.raises(UserError, match="on a file system with locks"), lock(tmp_path, "x"):
        pass
    assert [p.stat().st_size for p in Path(tmp_path, "results/partial/locks").iterdir()] in ([], [0])
