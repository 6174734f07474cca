"""The command line: quick to start, no torch where nothing is trained, errors in one line."""

import re
import resource
import shlex
import subprocess
import sys

import pytest
import typer

from grmp.cli import app, run_command
from grmp.data.cli import app as data
from tests.conftest import ROOT


def test_help_is_quick_to_start():
    """In one of three attempts; processor seconds, as what else the machine does is no matter."""
    code = "import sys; sys.argv = ['grmp', '--help']; from grmp.cli import main; main()"

    def seconds() -> float:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime

    assert any(seconds() < 1.0 for _ in range(3))


def test_stages_that_train_nothing_need_no_torch():
    modules = (
        "grmp.cli, grmp.data.cli, grmp.data.download, grmp.data.prepare, grmp.data.splits, grmp.data.simulated.databases, "
        "grmp.experiments.run, grmp.experiments.sweep, grmp.report.collect, grmp.report.notebook, grmp.report.site"
    )
    settings = "grmp.params.load(pathlib.Path('params.yaml'))"
    code = f"import pathlib, sys, {modules}; {settings}; sys.exit('torch' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "nowhere", "grmp", "5"], "nowhere"),
        (["run", "livec", "magic", "5"], "method 'magic' is not defined"),
        (["pretrain", "magic"], "variant 'magic' is not defined"),
        (["data", "fetch", "nowhere"], "nowhere"),
        (["score", "two\nlines"], "two lines not found"),
        (["score", 300 * "n"], "nnn: File name too long"),
        (["score", "/dev/zero"], "/dev/zero is not a regular file"),
        (["train", 300 * "n"], "File name too long"),
        (
            ["sweep", "--dry", "--partition", "gpu", "--gpus-per-job", "1"],
            "--partition, --gpus-per-job: only for --clus",
        ),
        (["sweep", "--dry", "--cluster", "tcp://h:8786", "--time", "240"], "--time: only for --cluster slurm"),
        (["sweep", "--dry", "--slurm", "account=me"], "--slurm: only for --cluster slurm"),
        (["sweep", "--cluster", "tcp://h:8786", "-j", "2"], "--workers: a Dask cluster has its own workers"),
        (["train", "typo/ratings.csv"], "typo/ratings.csv not found"),
        (["train", "."], ". is a folder; name the table, such as ratings.csv"),
        (
            ["score", "m.safetensors", "a.jpg", "--model", "small"],
            "m.safetensors and --model small are two models; name one",
        ),
        (["score", "a.jpg", "--frames", "8"], "--frames is for videos; leave it out for images"),
        (["params", "--output", "./params.yaml"], "params.yaml is the settings file itself; name another file"),
        (["rate", "params.yaml", "--json"], "params.yaml is not a folder; name the folder of the images"),
        (["score", "clip.mp4", "-o", "."], ". is a folder; name a file in it"),
    ],
)
def test_errors_are_one_line_and_exit_1(arguments, words, tmp_path, monkeypatch, capsys):
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["grmp", *arguments])
    assert run_command() == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert words in error
    assert [p.name for p in tmp_path.iterdir()] == ["params.yaml"]


def test_ctrl_c_says_how_to_continue(monkeypatch, capsys):
    def stopped(path):
        raise KeyboardInterrupt

    monkeypatch.setattr("grmp.cli.load", stopped)
    monkeypatch.setattr("sys.argv", ["grmp", "backbone"])
    assert run_command() == 130
    assert "interrupted; run the same command again to continue" in capsys.readouterr().err


def test_the_process_ends_completely_without_unloading():
    code = """if True:
        import atexit, sys, grmp.cli
        class Library:
            def __del__(self): print("unloaded")
        grmp.cli.library = Library()
        def load(path):
            atexit.register(print, "registered for the end")
            print("written")
            raise grmp.cli.UserError("reason")
        grmp.cli.load, sys.argv = load, ["grmp", "backbone"]
        grmp.cli.main()
        """
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ended.stdout == "written\nregistered for the end\n"
    assert (ended.returncode, ended.stderr) == (1, "error: reason\n")


@pytest.mark.parametrize("group", [app, data])
def test_every_command_has_an_example_that_it_understands(group: typer.Typer):
    for name, command in typer.main.get_command(group).commands.items():
        if command.hidden or hasattr(command, "commands"):
            continue
        words = re.search(r"Examples?: grmp (?:data )?(.*)", command.epilog or "")
        assert words, name
        first = shlex.split(re.split(r" · |[,;] ", words[1])[0])
        assert first[0] == name
        command.make_context(name, first[1:])
