"""Worker processes: one that is killed, hangs or fails costs its item and nothing else; none outlives its parent."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from grmp.errors import UserError
from grmp.pool import _Worker, work


def vanish(item):
    if item == "bad":
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def hang(item):
    if item == "bad":
        time.sleep(600)
    return item


def fail(item):
    if item == "bad":
        raise UserError("it is bad")
    if item == "worse":
        raise KeyError("no\nsuch")
    return item


@pytest.mark.parametrize(
    ("do", "reason"),
    [
        (vanish, "its worker process was killed 2 times, probably out of memory"),
        (hang, "stopped after 4 s (--time-limit)"),
        (fail, "it is bad"),
    ],
)
def test_one_bad_piece_of_work_takes_nothing_else_with_it(do, reason):
    ended = sorted(work(do, ["a", "bad", "b", "c"], [None, None], 4))
    assert ended == [("a", "done", "a"), ("b", "done", "b"), ("bad", "failed", reason), ("c", "done", "c")]


def die_when_idle(item):
    return os.getpid()


@pytest.mark.timeout(60)
def test_a_worker_that_dies_between_two_pieces_is_replaced():
    seen = []
    for _, state, pid in work(die_when_idle, ["a", "b", "c"], [None]):
        assert state == "done"
        seen.append(pid)
        os.kill(pid, signal.SIGKILL)
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)
    assert len(set(seen)) == 3


def test_an_unforeseen_error_is_one_line_and_one_run(capfd):
    ended = {item: word for item, _, word in work(fail, ["a", "worse"], [None])}
    assert ended["a"] == "a"
    assert ended["worse"].startswith("KeyError: ")
    assert "\n" not in ended["worse"]
    assert "Traceback" in capfd.readouterr().err


def told(item):
    return item, os.environ.get("CUDA_VISIBLE_DEVICES")


def test_each_process_sees_its_own_gpu():
    seen = [word for _, _, word in work(told, list("abcdef"), ["0", "3"])]
    assert {gpu for _, gpu in seen} <= {"0", "3"}
    assert len(seen) == 6


# a shell starts background jobs with SIGINT ignored, which tests that run in one would pass on
PARENT = """
import signal
import time
from grmp.pool import work
if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    print(list(work(time.sleep, [600], [None])))
"""


@pytest.fixture
def parent(tmp_path):
    """A process whose worker is at work."""
    script = tmp_path / "parent.py"
    script.write_text(PARENT)
    process = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    while not psutil.Process(process.pid).children():
        time.sleep(0.05)
    time.sleep(1)
    yield process
    process.kill()
    process.wait()


def test_no_worker_outlives_a_killed_parent(parent):
    children = psutil.Process(parent.pid).children()
    parent.kill()
    parent.wait()
    _, alive = psutil.wait_procs(children, 20)
    assert not alive


def test_ctrl_c_ends_the_workers_at_once(parent):
    parent.send_signal(signal.SIGINT)
    parent.wait(20)


@pytest.mark.timeout(30)
def test_ctrl_c_while_a_process_starts_ends_it(monkeypatch):
    submit = _Worker.submit

    def interrupted(*args):
        submit(*args)
        raise KeyboardInterrupt

    monkeypatch.setattr(_Worker, "submit", interrupted)
    with pytest.raises(KeyboardInterrupt):
        list(work(time.sleep, [600], [None]))
    assert not multiprocessing.active_children()
