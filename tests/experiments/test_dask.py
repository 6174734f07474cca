"""A sweep on a Dask cluster of two workers of which one is killed: the bytes of a local sweep."""

import os
import signal
import threading
import time
from functools import partial
from pathlib import Path

import pytest

from grmp.errors import UserError
from grmp.experiments import dask

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def cluster():
    """Two worker processes; the address of their scheduler."""
    with distributed.LocalCluster(2, threads_per_worker=1, dashboard_address=":0", silence_logs=50) as two:
        yield two.scheduler_address


def die_once(folder: Path, item: str) -> str:
    if item == "bad" and not (folder / "died").exists():
        (folder / "died").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if item == "worse":
        raise UserError("it is worse")
    return item.upper()


def test_the_item_of_a_killed_worker_goes_to_another(cluster, tmp_path):
    with dask.connect(cluster) as client:
        assert len(client.nthreads()) == 2
    ended = {item: end for item, *end in dask.work(partial(die_once, tmp_path), ["a", "bad", "worse"], cluster)}
    assert ended == {"a": ["done", "A"], "bad": ["done", "BAD"], "worse": ["failed", "it is worse"]}
    assert (tmp_path / "died").exists()


def test_without_a_scheduler_it_says_so(monkeypatch):
    monkeypatch.setattr(dask, "WAIT", "1s")
    with pytest.raises(UserError, match=r"no Dask scheduler at tcp://127\.0\.0\.1:9: .*start one with"):
        dask.connect("tcp://127.0.0.1:9")


def test_workers_with_threads_are_refused():
    with (
        distributed.LocalCluster(1, threads_per_worker=2, processes=False, dashboard_address=":0") as one,
        pytest.raises(UserError, match=r"has several threads; start it with: dask worker .* --nthreads 1"),
    ):
        dask.connect(one.scheduler_address)


@pytest.mark.slow
def test_a_sweep_of_which_a_worker_is_killed_has_the_bytes_of_a_local_one(cluster, world, undisturbed, capsys):
    from grmp.experiments import sweep  # not at the top: the workers of the other tests import this module
    from tests.faults import copies

    def kill() -> None:
        while not list((world.parent / "results/partial").glob("*/" + "?" * 64)):
            time.sleep(0.02)
        with distributed.Client(cluster) as client:
            pids = client.run(os.getpid)
            os.kill(next(pids[worker] for worker, tasks in client.processing().items() if tasks), signal.SIGKILL)
        killed.append(True)

    killed: list[bool] = []
    killer = threading.Thread(target=kill)
    killer.start()
    assert sweep.sweep(world, cluster=cluster) == 4
    killer.join()
    assert killed
    assert copies.records(world.parent) == undisturbed
    assert f"4 runs to compute with Dask at {cluster}" in capsys.readouterr().out
