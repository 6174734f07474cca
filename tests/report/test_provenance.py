"""The line under every figure: the same for the same run, and honest about changed code."""

import json
import subprocess
from pathlib import Path

from grmp.report.provenance import commit, provenance
from grmp.report.results import Results
from tests.report.sample import DATABASES, METHODS


def git(folder: Path, *arguments: str) -> None:
    subprocess.run(
        ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments],
        cwd=folder,
        check=True,
        capture_output=True,
    )


def test_commit_is_that_of_the_code(tmp_path: Path):
    assert commit(tmp_path) == "not in git"
    git(tmp_path, "init", "-q")
    assert commit(tmp_path) == "not in git"  # no commit yet
    (tmp_path / "grmp").mkdir()
    (tmp_path / "grmp/code.py").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "code")
    first = commit(tmp_path)
    assert len(first) == 10
    (tmp_path / "results.csv").write_text("1")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-qm", "results")
    assert commit(tmp_path) == first  # results do not change what the code was
    (tmp_path / "grmp/code.py").write_text("2")
    assert commit(tmp_path) == f"{first}+"


def test_line(collected: Path, world: Path):
    line = provenance(Results.open(collected), "few_shot")
    assert line == provenance(Results.open(collected), "few_shot")
    assert line.startswith("notebook few_shot · settings ")
    (world / "results/scores.csv").write_text("changed")
    other = provenance(Results.open(world), "few_shot")
    same = [a == b for a, b in zip(line.split(" · "), other.split(" · "), strict=True)]
    assert same == [True, True, False, True, True]


def notes(world: Path, name: str) -> dict[tuple[str, str], dict]:
    """What a sheet has told of each figure and table of a notebook."""
    cells = json.loads((world / "results/notebooks" / f"{name}.ipynb").read_text())["cells"]
    found = [o["metadata"].get("grmp") for cell in cells for o in cell.get("outputs", [])]
    return {(note["kind"], note["name"]): note for note in found if note}


def test_each_figure_names_what_was_read_for_it(executed: Path):
    few = notes(executed, "few_shot")
    curves = few["figure", "curves_srcc"]
    assert {"results/scores.csv", "results/summary.csv"} <= set(curves["read"])
    assert curves["records"] == []
    scatter = notes(executed, "predictions")["figure", "scatter"]
    wanted = [f"results/runs/sound/{d}/{m}/50/run.json" for d in DATABASES for m in METHODS]
    assert sorted(scatter["records"]) == sorted(wanted)
    opinions = notes(executed, "databases")["figure", "opinions"]
    assert sorted(opinions["read"]) == [f"data/prepared/{d}" for d in (*sorted(DATABASES), "pre")]


def test_a_table_names_the_records_of_its_rows(executed: Path):
    records = notes(executed, "predictions")["table", "measures"]["records"]
    assert len(records) == len(DATABASES) * len(METHODS)
    assert all(record.endswith("/50/run.json") for record in records)  # and none with 25 labels
    every = notes(executed, "few_shot")["table", "scores"]["records"]
    assert len(every) == 2 * len(records)
