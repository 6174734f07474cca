"""The line under every figure: the same for the same run, and honest about changed code."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from grmp.report.page import commit, provenance
from grmp.report.results import Results
from tests.report.sample import DATABASES, METHODS, NOTEBOOKS, OTHERS


def git(folder: Path, *arguments: str) -> None:
    command = ["git", "-c", "user.name=t", "-c", "user.email=t@example.org", *arguments]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)


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
    found = json.loads((world / "notes.json").read_text()).get(name)
    if found is None:
        cells = json.loads((world / "results/notebooks" / f"{name}.ipynb").read_text())["cells"]
        found = [o["metadata"].get("grmp") for cell in cells for o in cell.get("outputs", [])]
    return {(note["kind"], note["name"]): note for note in found if note}


def test_each_figure_names_what_was_read_for_it(executed: Path):
    few = notes(executed, "few_shot")
    assert few["figure", "curves_srcc"]["records"] == []
    assert "results/scores.csv" in few["figure", "pairs"]["read"]
    scatter = notes(executed, "predictions")["figure", "scatter"]
    wanted = [f"results/runs/sound/{d}/{m}/50/run.json" for d in DATABASES for m in METHODS]
    assert sorted(scatter["records"]) == sorted(wanted)
    ratings = notes(executed, "databases")["figure", "ratings"]
    assert sorted(ratings["read"]) == [f"data/prepared/{d}" for d in (*sorted(DATABASES), "pre")]


def test_a_table_names_the_records_of_its_rows(executed: Path):
    records = notes(executed, "predictions")["table", "measures"]["records"]
    assert len(records) == len(DATABASES) * len(METHODS)
    assert all(record.endswith("/50/run.json") for record in records)  # and none with 25 labels
    every = notes(executed, "few_shot")["table", "scores"]["records"]
    assert len(every) == 2 * len(records)


SCORES = {"results/scores.csv", "results/summary.csv"}
READ = {  # what each output must name: files, or prefixes that end in /
    ("summary", "claims"): {"results/summary.csv", "results/pairs.csv"},
    ("databases", "databases"): {"data/prepared/alpha"},
    ("databases", "ratings"): {"data/prepared/alpha"},
    ("databases", "samples"): {"data/prepared/alpha"},
    ("databases", "backbone"): {"results/backbone.json"},
    ("meta_training", "losses"): {"results/pretrain/reptile.csv"},
    ("meta_training", "tasks_pre"): {"results/pretrain/reptile.csv"},
    ("meta_training", "steps"): {"results/inner_curves/reptile.csv"},
    ("meta_training", "steps_reptile_pre"): {"results/inner_curves/reptile.csv"},
    ("meta_training", "steps_reptile_alpha"): {"results/inner_curves/reptile.csv"},
    ("few_shot", "scores"): {"results/summary.csv"},
    ("few_shot", "curves_srcc"): SCORES,
    ("few_shot", "curves_plcc"): SCORES,
    ("few_shot", "pairs"): {"results/pairs.csv"},
    ("full_supervision", "scores_srcc"): {"results/summary.csv"},
    ("full_supervision", "scores_plcc"): {"results/summary.csv"},
    ("full_supervision", "data_efficiency"): SCORES,
    ("cross_dataset", "matrix"): {"results/summary.csv"},
    ("cross_dataset", "scores"): {"results/summary.csv"},
    ("selection", "protocols"): SCORES,
    ("selection", "reading"): {"results/scores.csv"},
    ("predictions", "scatter"): {"results/scores.csv"},
    ("predictions", "measures"): {"results/summary.csv"},
    ("predictions", "failures"): {"data/prepared/alpha"},
    ("predictions", "agreement"): set(),  # records only
    ("cost", "cost"): {"results/cost.json"},
    ("where_it_looks", "maps_alpha"): {"results/attribution/alpha.csv", "results/attribution/alpha.npz"},
    ("where_it_looks", "embedding_alpha"): {"results/attribution/alpha.csv", "results/attribution/alpha.npz"},
    ("where_it_looks", "models"): {f"results/attribution/{d}.npz" for d in DATABASES},
}


@pytest.mark.parametrize("name", [*NOTEBOOKS, *OTHERS])
def test_every_output_names_the_files_it_was_made_from(executed: Path, name: str):
    """No list is empty, and what is known to have been read is in it."""

    def alike(text: str) -> str:
        return re.sub("beta|gamma", "alpha", text)

    found = notes(executed, name)
    assert found
    for (_, output), note in found.items():
        assert note["kind"] == "hole" or note["read"] or note["records"], output
        wanted = READ.get((name, alike(output)), set())
        assert set(map(alike, wanted)) <= set(map(alike, note["read"])), output
    missing = {output for notebook, output in READ if notebook == name} - {output for _, output in found}
    assert not any(READ[name, output] for output in missing), missing
