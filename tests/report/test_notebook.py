"""Notebooks run in a world's folder, twice with the same bytes, offline, and leave nothing when they fail."""

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import jupytext
import nbformat
import pytest

from grmp.errors import UserError
from grmp.report.notebook import check_parameters, execute, execute_all, parameters
from grmp.report.page import pipeline_folder
from tests.report.sample import EMPTY, NOTEBOOKS, OTHERS, ROOT, editing, make_settings, run_here

HOLES = {
    # of the sample world: none of the paper's databases, no method that differs in reading the test split alone
    "summary": ["claims"],
    "selection": ["reading"],
    # test_ablation.py has their runs
    "ablation": ["parts", "sweeps", "methods"],
    "gradient": ["strength", "angles", "rules"],
}


def check(root: Path, name: str, notes: list[dict], holes: Sequence[str] = ()) -> None:
    """Every output that has results is saved in all its forms."""
    assert notes
    assert [n["name"] for n in notes if n["kind"] == "hole"] == list(holes)
    for note in (n for n in notes if n["kind"] != "hole"):
        folder, endings = {"figure": ("figures", "png pdf svg"), "table": ("tables", "csv md tex")}[note["kind"]]
        for ending in endings.split():
            assert (root / "results" / folder / name / f"{note['name']}.{ending}").stat().st_size > 0
        assert re.search(rf"notebook {name} · settings \w{{12}} · scores \w{{12}} · code .* · Python 3", note["line"])
        assert note["kind"] == "table" or len(note["alt"]) > 20


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_each_notebook_shows_and_saves(executed: Path, name: str):
    notebook = nbformat.read(executed / f"results/notebooks/{name}.ipynb", as_version=4)
    found = [o for cell in notebook.cells for o in cell.get("outputs", [])]
    assert {o["output_type"] for o in found} == {"display_data"}
    check(executed, name, [o["metadata"]["grmp"] for o in found if "grmp" in o.get("metadata", {})])


@pytest.mark.parametrize("name", OTHERS)
def test_the_cells_of_each_other_notebook_show_and_save(executed: Path, name: str):
    check(executed, name, json.loads((executed / "notes.json").read_text())[name], HOLES.get(name, []))


def saved(root: Path, name: str) -> dict[Path, bytes]:
    files = [p for kind in ("figures", "tables") for p in (root / "results" / kind / name).glob("*")]
    return {p.relative_to(root): p.read_bytes() for p in files}


@pytest.mark.parametrize("name", [*NOTEBOOKS, *OTHERS])
def test_without_results_there_are_holes_and_no_error(tmp_path: Path, name: str):
    found = run_here(name, make_settings(tmp_path))
    assert {note["kind"] for note in found} <= {"table", "hole"}
    assert all(note["command"].startswith("dvc repro ") for note in found if note["kind"] == "hole")
    with editing(tmp_path) as raw:  # pipelines such as real/cross ask for some experiments only
        raw["run"] |= dict.fromkeys(("few_shot", "ablation", "full"), EMPTY)
    assert {note["kind"] for note in run_here(name, tmp_path)} <= {"table", "hole"}


def test_two_runs_same_bytes(executed: Path, tmp_path: Path):
    """In another folder and another process; the executed notebook itself as well."""
    root = shutil.copytree(executed, tmp_path / "root")
    for name in NOTEBOOKS:
        shutil.rmtree(root / "results/figures" / name, ignore_errors=True)
        shutil.rmtree(root / "results/tables" / name, ignore_errors=True)
    execute("databases", root / "params.yaml")
    run_here("few_shot", root)
    for name in ("databases", "few_shot"):
        assert len(saved(root, name)) > 5
        assert saved(root, name) == saved(executed, name)
    one, two = (place / "results/notebooks/databases.ipynb" for place in (executed, root))
    assert one.read_bytes() == two.read_bytes()


def test_parameters_are_typed_and_every_notebook_takes_a_root():
    notebook = jupytext.read(ROOT / "notebooks/predictions.py")
    known = parameters(notebook)
    comment = "at most five; empty: the first, `method` and the last ones of params.yaml"
    assert known["methods"] == ("methods", "list[str]", "[]", comment)
    given = check_parameters("predictions", notebook, ["methods=[grmp, ridge]", "shots=25", "root=."])
    assert given == {"methods": ["grmp", "ridge"], "shots": 25, "root": "."}
    for name in (*NOTEBOOKS, *OTHERS):
        assert parameters(jupytext.read(ROOT / f"notebooks/{name}.py"))["root"][1:3] == ("str", '"."')


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "shoots=[50]",
            r"""has no parameter 'shoots'; known: root: str = "\."; protocol: str = ""; shots: list\[int\] = \[\]""",
        ),
        ("shots=50", r"shots must be list\[int\], got '50'; known: root"),
        ("shots=[1.5]", r"shots must be list\[int\]"),
        ("shots=[", r"shots must be list\[int\]"),
        ("shots", "has no parameter"),
        ("methods=[grmp, nope]", r"no method 'nope' in .*; methods: .*grmp"),
    ],
)
def test_bad_parameters_stop_before_anything_runs(world: Path, text: str, message: str):
    kept = world / "results/tables/few_shot/kept.csv"
    kept.parent.mkdir(parents=True)
    kept.touch()
    with pytest.raises(UserError, match=message):
        execute("few_shot", world / "params.yaml", [text])
    assert kept.exists()
    assert not (world / "results/notebooks").exists()


def test_a_parameter_reaches_the_notebook(world: Path):
    execute("few_shot", world / "params.yaml", ["shots=[50]"])
    head = (world / "results/by_hand/few_shot/tables/scores.md").read_text().splitlines()[2]
    assert "SRCC, 50" in head
    assert "SRCC, 25" not in head
    assert not (world / "results/tables").exists()  # the results for the site stay as they were
    assert (world / "results/by_hand/few_shot/few_shot.ipynb").is_file()


def test_unknown_notebook(world: Path):
    for name in ("few_shots", "../few_shot"):
        with pytest.raises(UserError, match=r"no notebook .* known: ablation, .*cross_dataset, databases"):
            execute(name, world / "params.yaml")


def test_a_failing_notebook_leaves_nothing_and_the_others_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
):
    """Their code lies elsewhere; one process executes both."""
    monkeypatch.setattr("grmp.report.notebook.cpus", lambda: 1)
    code, world = tmp_path / "code", make_settings(tmp_path / "world")
    (code / "notebooks").mkdir(parents=True)
    head = "# %% tags=['parameters']\nworld: str = '.'\n# %%\n"
    (code / "notebooks/good.py").write_text(f"{head}print('fine')\n")
    (code / "notebooks/bad.py").write_text(
        f"{head}from pathlib import Path\nPath('results/figures/bad/one.png').write_text('half')\n"
        "# %%\nprint('before')\nraise KeyError('a\\nb')\n"
    )
    with editing(world) as raw:
        raw["paths"]["code"] = "../code"
        raw["report"]["notebooks"] = ["bad", "good"]
    with pytest.raises(UserError, match=r"^1 of 2 notebooks failed, see above; run one with: grmp notebooks bad$"):
        execute_all(world / "params.yaml")
    why = "a notebook cell failed, KeyError: 'a\\nb' (in the cell that begins: print('before'))"
    assert f"notebook bad: {why}; " in capsys.readouterr().out
    left = [p for p in (world / "results").rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert left == [world / "results/notebooks/good.ipynb"]


def test_a_user_error_in_a_notebook_is_its_own_line(world: Path):
    (world / "results/scores.csv").write_text("a,b\n1,2\n")
    with pytest.raises(UserError, match=r"^results/scores\.csv was written by another version"):
        execute("few_shot", world / "params.yaml")


@pytest.mark.slow
def test_by_hand_with_papermill(executed: Path, tmp_path: Path):
    """The executed notebook runs with papermill's own command line and kernel, and leaves the results for the site alone."""
    root = shutil.copytree(executed, tmp_path / "world", ignore=shutil.ignore_patterns("site"))
    before = (root / "results/tables/cost/cost.csv").read_bytes()
    (root / "results/cost.json").write_text("[]")
    run = [sys.executable, "-m", "papermill", "results/notebooks/cost.ipynb", str(tmp_path / "out.ipynb")]
    subprocess.run([*run, "-p", "shots", "25"], cwd=root, check=True, capture_output=True, timeout=120)
    assert (root / "results/tables/cost/cost.csv").read_bytes() == before
    assert (root / "results/by_hand/cost/tables/cost.csv").read_bytes() != before


def test_from_the_folder_of_the_notebooks_results_are_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    with pytest.raises(UserError, match=r"has no params\.yaml; set the parameter root"):
        pipeline_folder(".")
    for folder in (tmp_path, tmp_path / "demo"):
        folder.mkdir(exist_ok=True)
        (folder / "params.yaml").touch()
    assert pipeline_folder(".") == tmp_path
    (tmp_path / "demo/results").mkdir()
    (tmp_path / "demo/results/scores.csv").touch()
    assert pipeline_folder(".") == tmp_path / "demo"
    assert pipeline_folder(tmp_path) == tmp_path  # a folder that was named is taken
