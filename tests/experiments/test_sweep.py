"""Many runs: two sweeps at once, workers that die or hang, any order and number of processes, the same bytes."""

import os
import shutil
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from grmp import params
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.experiments import sweep
from grmp.experiments.run import run
from grmp.params import RunKey
from tests.experiments.conftest import edit
from tests.faults import copies


@pytest.fixture
def here(monkeypatch):
    """Runs are computed in this process: what a worker process adds is tested in tests/test_pool.py."""

    def work(do, items, **_):
        for item in items:
            try:
                yield item, "done", do(item)
            except UserError as error:
                yield item, "failed", str(error)

    monkeypatch.setattr(sweep, "work", work)


COUNTED = """
import sys
from pathlib import Path
from grmp import params
from grmp.experiments import record, sweep
file, notes = map(Path, sys.argv[1:])
keep, write = record.write_split, record.write
def note(text):
    with notes.open("a") as opened:
        opened.write(text + chr(10))
def kept(folder, split, result):
    keep(folder, split, result)
    note(f"split {folder.name} {split}")
def wrote(root, key, *rest):
    write(root, key, *rest)
    note(f"record {key}")
record.write_split, record.write = kept, wrote
loaded = params.load(file)
for key in [key for key in sweep.outdated(loaded, file.parent) if sweep._work(file, key) is None]:
    sweep.run(loaded, file.parent, key, progress=False)
"""


@pytest.mark.slow
def test_two_sweeps_at_once_compute_each_split_once(world, undisturbed, tmp_path):
    """Counted where a split is kept: each of the 12 once over both, and no record is written twice."""
    notes = tmp_path / "notes"
    both = [subprocess.Popen([sys.executable, "-c", COUNTED, str(world), str(notes)]) for _ in range(2)]
    assert [p.wait() for p in both] == [0, 0]
    noted = notes.read_text().splitlines()
    assert len(noted) == len(set(noted)) == 4 * 3 + 4
    assert copies.records(world.parent) == undisturbed


@pytest.mark.slow
def test_two_commands_at_once_both_end_well(world, undisturbed):
    main = "from grmp.cli import main; main()"
    command = [sys.executable, "-c", main, "sweep", "--params", str(world), "--workers", "2"]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    said = [p.communicate()[0] for p in both]
    assert [p.returncode for p in both] == [0, 0]
    assert sum(int(s.split()[-3]) for s in said) == 4  # "N runs computed"
    assert copies.records(world.parent) == undisturbed


def test_same_bytes_with_two_processes_of_which_one_is_killed(world, undisturbed, capsys):
    with ThreadPoolExecutor(1) as beside:
        computed = beside.submit(sweep.sweep, world, 2)
        while not list((world.parent / "results/partial").glob("*/" + "?" * 64)):
            time.sleep(0.02)
        children = [p for p in psutil.Process().children() if "spawn_main" in " ".join(p.cmdline())]
        children[0].kill()
    assert computed.result() == 4
    assert copies.records(world.parent) == undisturbed
    said = capsys.readouterr().out
    assert "4 runs to compute with 2 processes" in said
    assert "done 4 of 4, running 0, failed 0" in said
    assert sweep.sweep(world, workers=2) == 0


def test_failures_are_listed_with_the_way_to_retry(world, here, capsys):
    (world.parent / "results/runs/sound/target").mkdir(parents=True)
    (world.parent / "results/runs/sound/target/ridge").write_text("in the way")
    with pytest.raises(UserError) as caught:
        sweep.sweep(world, command="grmp sweep --params x")
    assert "failed: sound-target-ridge-6: cannot write" in capsys.readouterr().out
    listed = "2 of 4 runs failed (listed above); completed runs are kept, retry the others with: grmp sweep --params x"
    assert str(caught.value) == listed
    assert len(sweep.outdated(params.load(world), world.parent)) == 2


def test_the_longest_run_starts_first_and_the_order_changes_no_byte(world, undisturbed, here, capsys):
    sweep.sweep(world)
    order = [line.split("-")[2] for line in capsys.readouterr().out.splitlines() if ": computed" in line]
    assert [key.method for key in params.load(world).run.run_keys()] != order
    assert order == sorted(order), "grmp before ridge"
    assert copies.records(world.parent) == undisturbed


def test_dry_lists_and_estimates_and_computes_nothing(world):
    loaded = params.load(world)
    text = sweep.plan(world, workers=2)
    assert text.count(", counted") == 4
    assert "4 of them by counted operations (no record)" in text
    shutil.move(world.parent / "data/prepared", world.parent / "apart")
    unprepared = sweep.plan(world, workers=2)
    assert unprepared.count("unknown before `prepare`") == 4
    assert unprepared.endswith("4 runs to compute")
    shutil.move(world.parent / "apart", world.parent / "data/prepared")
    run(loaded, world.parent, RunKey("sound", "target", "ridge", 6), progress=False)
    text = sweep.plan(world, workers=2)
    assert "sound-target-ridge-12  about" in text
    assert text.count(", counted") == 2
    assert "ridge-6 " not in text
    assert "3 runs to compute" in text
    assert len(sweep.outdated(loaded, world.parent)) == 3


def test_without_slurm_it_says_so(world, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(UserError, match=r"Slurm rejected the jobs: .*srun") as caught:
        sweep.sweep(world, cluster={"array_parallelism": 1})
    assert "\n" not in str(caught.value)


def test_the_deterministic_switch_is_on_only_where_it_is_asked_for(monkeypatch):
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"device cuda_deterministic: torch finds no GPU"):
            choose_device("cuda_deterministic", 1)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda_deterministic", 1).type == "cuda"
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert choose_device("cpu", 1).type == "cpu"
    assert not torch.are_deterministic_algorithms_enabled()


def test_failed_splits_are_no_error_where_they_are_allowed(world, here, capsys):
    """A loss that is not finite is a result: the pipeline goes on to the pages, which name it."""
    edit(world, methods={"grmp": {"set": {"adapt.learning_rate": 1.0e30}}}, run={"few_shot": {"shots": [6]}})
    with pytest.raises(UserError, match="1 of 2 runs failed"):
        sweep.sweep(world, workers=1)
    assert sweep.sweep(world, workers=1, allow_failed=True) == 0
    assert "failed: sound-target-grmp-6: 3 splits failed" in capsys.readouterr().out
    shutil.rmtree(world.parent / "results/runs/sound/target/ridge")
    (world.parent / "results/runs/sound/target/ridge").write_text("in the way")  # a run without a record is an error
    with pytest.raises(UserError, match="2 of 2 runs failed"):
        sweep.sweep(world, workers=1, allow_failed=True)
