"""Many runs: two sweeps at once, workers that die or hang, any order and number of processes, the same bytes."""

import os
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest
import yaml

from grmp import params
from grmp import pool as workers
from grmp.device import choose_device
from grmp.errors import UserError
from grmp.experiments import cost, runs, sweep, watch
from grmp.methods import registry as methods
from grmp.params import RunKey
from grmp.pretrain.train import pretrain
from tests import worlds
from tests.faults import worlds as copies

METHODS = ["zero_shot", "ridge", "random_prompts", "grmp"]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    """A tiny world with learned prompts and eight runs to do."""
    file = worlds.build(tmp_path_factory.mktemp("world") / "w", run={"few_shot": {"methods": METHODS}})
    pretrain(params.load(file), file.parent, "fomaml")
    return file


@pytest.fixture(scope="module")
def undisturbed(pristine, tmp_path_factory):
    """Every record, computed one after the other in this process."""
    file = copies.copy(pristine, tmp_path_factory.mktemp("undisturbed"))
    loaded = params.load(file)
    for key in loaded.run.run_keys():
        sweep.run(loaded, file.parent, key, progress=False)
    return copies.records(file.parent)


@pytest.fixture
def world(pristine, tmp_path):
    return copies.copy(pristine, tmp_path)


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-c", "from grmp.cli import main; main()", "sweep", *arguments]


def test_same_bytes_with_one_process_and_with_several(world, undisturbed, capsys):
    assert sweep.sweep(world, workers=3) == 8
    assert copies.records(world.parent) == undisturbed
    said = capsys.readouterr().out
    assert "8 runs to compute with 3 processes" in said
    assert "done 8 of 8, running 0, failed 0" in said
    assert sweep.sweep(world, workers=3) == 0


def test_same_bytes_in_another_order(world, undisturbed):
    loaded = params.load(world)
    for key in reversed(loaded.run.run_keys()):
        sweep.run(loaded, world.parent, key, progress=False)
    assert copies.records(world.parent) == undisturbed


def test_two_sweeps_at_once_compute_each_split_once(world, undisturbed, tmp_path):
    """Counted where a split is kept: each of the 24 once over both, and no record is written twice."""
    count = tmp_path / "kept"
    spy = (
        "import os, sys; from pathlib import Path\n"
        "from grmp.experiments import runs, sweep\n"
        "keep, write = runs.write_split, runs.write\n"
        "def note(text):\n"
        f"    with open({str(count)!r}, 'a') as file: file.write(text + chr(10))\n"
        "def kept(folder, split, result): keep(folder, split, result); note(f'split {folder.name} {split}')\n"
        "def wrote(p, w, key, *rest): write(p, w, key, *rest); note(f'record {key}')\n"
        "runs.write_split, runs.write = kept, wrote\n"
    )
    (tmp_path / "sitecustomize.py").write_text("")
    (tmp_path / "spied.py").write_text(spy)
    main = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import spied; from pathlib import Path\n"
    main += "from grmp import params\n"
    main += "file = Path(sys.argv[1]); loaded = params.load(file)\n"
    main += "import grmp.experiments.sweep as s\n"
    main += "todo = s.lacking(loaded, file.parent)\n"
    main += "left = [k for k in todo if s._work(file, False, k) == 'busy']\n"
    main += "[s._work(file, True, k) for k in left]\n"
    both = [subprocess.Popen([sys.executable, "-c", main, str(world)]) for _ in range(2)]
    assert [p.wait() for p in both] == [0, 0]
    noted = count.read_text().splitlines()
    assert len(noted) == len(set(noted)) == 8 * 3 + 8
    assert copies.records(world.parent) == undisturbed


@pytest.mark.slow
def test_two_commands_at_once_both_end_well(world, undisturbed):
    both = [
        subprocess.Popen(command("--params", str(world), "--workers", "2"), stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    said = [p.communicate()[0] for p in both]
    assert [p.returncode for p in both] == [0, 0]
    assert sum(int(s.split()[-3]) for s in said) == 8  # "N runs computed"
    assert copies.records(world.parent) == undisturbed


def test_killed_worker_is_replaced_and_its_run_goes_on(world, undisturbed, monkeypatch):
    began = subprocess.Popen(command("--params", str(world), "--workers", "2"), stdout=subprocess.PIPE, text=True)
    partial = world.parent / "results/partial"
    while not list(partial.glob("?" * 64)):
        time.sleep(0.02)
    import psutil

    children = [p for p in psutil.Process(began.pid).children() if "spawn_main" in " ".join(p.cmdline())]
    assert children
    os.kill(children[0].pid, signal.SIGKILL)
    began.communicate()
    assert began.returncode == 0
    assert copies.records(world.parent) == undisturbed


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
        (vanish, "its process vanished 2 times (signal 9)"),
        (hang, "stopped after 4 s (--time-limit)"),
        (fail, "it is bad"),
    ],
)
def test_one_bad_piece_of_work_takes_nothing_else_with_it(do, reason):
    ended = {item: (state, word) for item, state, word in workers.work(do, ["a", "bad", "b", "c"], [None, None], 4)}
    assert ended.pop("bad")[0] == "failed"
    assert ended == {item: ("done", item) for item in "abc"}
    again = list(workers.work(do, ["bad"], [None], 4))
    assert len(again) == 1
    assert reason in again[0][2]


def die_when_idle(item):
    return os.getpid()


@pytest.mark.timeout(60)
def test_a_worker_that_dies_between_two_pieces_is_replaced():
    seen = []
    for _, state, pid in workers.work(die_when_idle, ["a", "b", "c"], [None]):
        assert state == "done"
        seen.append(pid)
        os.kill(pid, signal.SIGKILL)
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.05)
    assert len(set(seen)) == 3


def test_no_process_is_begun_for_nothing(monkeypatch, capfd):
    begun, worker = [], workers.Worker
    monkeypatch.setattr(workers, "Worker", lambda *arguments: begun.append(1) or worker(*arguments))
    assert [state for _, state, _ in workers.work(vanish, ["bad"], [None, None])] == ["failed"]
    assert len(begun) == 2
    assert "Traceback" not in capfd.readouterr().err


def never_ready(*_):
    time.sleep(600)


def test_a_process_that_does_not_start_is_given_up(monkeypatch):
    monkeypatch.setattr(workers, "STARTING", 3.0)
    monkeypatch.setattr(workers, "_serve", never_ready)
    assert [word for _, _, word in workers.work(fail, ["a"], [None])] == ["its process did not start within 3 s"]


def test_an_unforeseen_error_is_one_line_and_one_run(capfd):
    ended = {item: word for item, _, word in workers.work(fail, ["a", "worse"], [None])}
    assert ended["a"] == "a"
    assert ended["worse"].startswith("KeyError: ")
    assert "\n" not in ended["worse"]
    assert "Traceback" in capfd.readouterr().err


def told(item):
    return item, os.environ.get("CUDA_VISIBLE_DEVICES")


def test_each_process_sees_its_own_gpu():
    seen = [word for _, _, word in workers.work(told, list("abcdef"), ["0", "3"])]
    assert {gpu for _, gpu in seen} <= {"0", "3"}
    assert len(seen) == 6


def test_failures_are_listed_with_the_way_to_retry(world):
    (world.parent / "results/runs/sound/target").mkdir(parents=True)
    (world.parent / "results/runs/sound/target/ridge").write_text("in the way")
    done = subprocess.run(
        command("--params", str(world), "--workers", "2"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert "failed: sound-target-ridge-6: cannot write" in done.stdout
    assert (
        "2 of 8 runs failed (listed above); what is done is kept, try the others again with: grmp sweep --params"
        in done.stderr
    )
    assert done.stderr.count("\n") == 1
    assert len(sweep.lacking(params.load(world), world.parent)) == 2


def test_dry_lists_and_estimates_and_computes_nothing(world):
    loaded = params.load(world)
    text = sweep.plan(world, workers=2)
    assert text.count("unknown") == 9
    assert text.endswith("8 runs to compute; 8 of them of unknown cost (no record of their method)")
    sweep.run(loaded, world.parent, RunKey("sound", "target", "ridge", 6), progress=False)
    text = sweep.plan(world, workers=2)
    assert "sound-target-ridge-12  about" in text
    assert "ridge-6 " not in text
    assert "7 runs to compute" in text
    assert len(sweep.lacking(loaded, world.parent)) == 7


def test_estimates_come_from_the_nearest_record():
    known = {RunKey("p", "a", "m", 50): 10.0, RunKey("p", "a", "m", 100): 15.0, RunKey("p", "b", "m", 50): 99.0}
    assert cost.estimate(RunKey("p", "a", "m", 50), known) == 10
    assert cost.estimate(RunKey("p", "a", "m", 200), known) == pytest.approx(25)
    assert cost.estimate(RunKey("q", "b", "m", 50), known) == 99
    assert cost.estimate(RunKey("p", "a", "m", "20pct"), known) in (10, 15)
    assert cost.estimate(RunKey("p", "a", "other", 50), known) is None
    assert cost.total([RunKey("p", "a", "m", 50), RunKey("p", "a", "x", 1)], known, 3) == (30, 1)


def test_time_left_is_that_of_the_runs_that_are_left(world, capsys):
    cheap, dear = RunKey("sound", "target", "ridge", 6), RunKey("sound", "target", "grmp", 6)
    seen = watch.Watch([cheap, dear, RunKey("sound", "target", "grmp", 12)], 2, world.parent, 3)
    assert seen.left() == "unknown time"
    seen.known = {RunKey("sound", "other", "ridge", 6): 1.0, RunKey("sound", "other", "grmp", 6): 100.0}
    seen.see(cheap, "done", "computed")
    assert "done 1 of 3, running 2, failed 0" in capsys.readouterr().out
    assert seen.left() == "about 5 min"  # two runs of three splits at once
    seen.see(dear, "failed", "no")
    assert "done 1 of 3, running 1, failed 1" in capsys.readouterr().out


def test_a_cut_table_is_computed_again(world):
    loaded, key = params.load(world), RunKey("sound", "target", "ridge", 6)
    sweep.run(loaded, world.parent, key, progress=False)
    table = key.folder(world.parent) / "predictions.csv"
    whole = table.read_bytes()
    assert runs.is_done(loaded, world.parent, key)
    os.truncate(table, len(whole) // 2)
    assert not runs.is_done(loaded, world.parent, key)
    sweep.run(loaded, world.parent, key, progress=False)
    assert table.read_bytes() == whole


def test_what_changes_under_a_run_gives_no_record(world, monkeypatch):
    loaded, key = params.load(world), RunKey("sound", "target", "ridge", 6)
    prepare = methods.prepare

    def and_meanwhile(case, name):
        splits = runs.split_file(world.parent, "target", "sound")
        splits.write_text(splits.read_text().replace("test", "0", 1))
        return prepare(case, name)

    monkeypatch.setattr(methods, "prepare", and_meanwhile)
    with pytest.raises(UserError, match="what it reads was changed while it was computed; run it again"):
        sweep.run(loaded, world.parent, key, progress=False)
    assert not key.folder(world.parent).exists()


def test_code_is_known_as_it_was_when_first_asked_for(monkeypatch):
    before = runs.code("ridge")
    monkeypatch.setattr(runs, "sha256", lambda path: "edited")
    assert runs.code("ridge") == before


def test_same_bytes_whatever_the_batch_of_splits(world, undisturbed):
    raw = yaml.safe_load(world.read_text())
    raw["adapt"]["splits_at_once"] = 3
    world.write_text(yaml.safe_dump(raw, sort_keys=False))
    sweep.run(params.load(world), world.parent, RunKey("sound", "target", "grmp", 12), progress=False)
    found = copies.records(world.parent)
    assert len(found) == 3
    assert found == {name: content for name, content in undisturbed.items() if name in found}


def test_without_slurm_it_says_so(world, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    from grmp.experiments.slurm import SlurmOptions

    with pytest.raises(UserError, match=r"Slurm took no jobs: .*srun") as caught:
        sweep.sweep(world, cluster=SlurmOptions())
    assert "\n" not in str(caught.value)


def test_the_deterministic_switch_is_on_only_where_it_is_asked_for(monkeypatch):
    import torch

    if not torch.cuda.is_available():
        with pytest.raises(UserError, match=r"adapt\.device is cuda_deterministic, but torch finds no GPU"):
            choose_device("cuda_deterministic", 1)
    monkeypatch.delenv("CUBLAS_WORKSPACE_CONFIG", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("cuda_deterministic", 1).type == "cuda"
    assert torch.are_deterministic_algorithms_enabled()
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] == ":4096:8"
    assert choose_device("cpu", 1).type == "cpu"
    assert not torch.are_deterministic_algorithms_enabled()


def test_failed_splits_are_no_error_where_they_are_allowed(world, capsys):
    """A loss that is not finite is a result: the pipeline goes on to the pages, which name it."""
    raw = yaml.safe_load(world.read_text())
    raw["methods"]["grmp"]["set"] = {"adapt.learning_rate": 1.0e30}
    raw["run"]["few_shot"]["methods"] = ["ridge", "grmp"]
    world.write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(UserError, match="2 of 4 runs failed"):
        sweep.sweep(world, workers=1)
    assert sweep.sweep(world, workers=1, allow_failed=True) == 0
    assert "failed: sound-target-grmp-6: splits failed" in capsys.readouterr().out
    shutil.rmtree(world.parent / "results/runs/sound/target/ridge")
    (world.parent / "results/runs/sound/target/ridge").write_text("in the way")  # a run without a record is an error
    with pytest.raises(UserError, match="4 of 4 runs failed"):
        sweep.sweep(world, workers=1, allow_failed=True)
