"""The whole pipeline in a temporary clone: every stage runs, a second run does nothing, a change reaches what depends on it."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import yaml

from tests.pipeline.tiny import called, clone

pytestmark = [pytest.mark.pipeline, pytest.mark.timeout(600)]

NOTEBOOKS = ["few_shot"]


def dvc(folder: Path, *arguments: str) -> str:
    """Output of a DVC command in the tiny world."""
    return called(folder, "dvc", *arguments)


@pytest.fixture(scope="module")
def world(tmp_path_factory) -> tuple[Path, str]:
    """A fresh clone with a tiny world in it, run once, its runs by a sweep; (its folder, what DVC printed)."""
    folder = clone(tmp_path_factory.mktemp("clone") / "project", NOTEBOOKS)
    before = dvc(folder, "repro", "pretrain")
    called(folder, "grmp", "sweep")
    return folder, before + dvc(folder, "repro")


def stages(output: str) -> list[str]:
    return re.findall(r"Running stage '([^']+)'", output)


def test_every_stage_ran_and_left_its_results(world):
    folder, output = world
    kinds = {name.split(":")[-1].split("@")[0] for name in stages(output)}
    assert kinds == set(yaml.safe_load((folder / "dvc.yaml").read_text())["stages"])
    results = folder / "results"
    scores = pd.read_csv(results / "scores.csv")
    assert len(scores) == (2 * 3 + 1 + 1 + 1) * 2
    assert not scores["status"].str.startswith("failed").any()
    assert scores["srcc"].between(-1, 1).all()
    for name in NOTEBOOKS:
        notebook = json.loads((results / f"notebooks/{name}.ipynb").read_text())
        outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", [])]
        assert outputs
        assert not [o for o in outputs if o["output_type"] == "error"]
        assert (results / f"site/notebooks/{name}.html").stat().st_size > 10_000
    page = (results / "site/index.html").read_text()
    assert "simulated" in page
    links = re.findall(r'(?:href|src)="([^"#?:]+)[^":]*"', page)
    assert links
    assert [link for link in links if not (results / "site" / link).exists()] == []


def test_a_repro_after_a_sweep_finds_its_runs_done(world):
    assert re.findall(r"^\d+ runs to compute", world[1], re.MULTILINE) == ["0 runs to compute"]


def test_second_run_does_nothing(world):
    folder, _ = world
    assert stages(dvc(folder, "repro")) == []


def test_changed_lambda_reaches_only_what_depends_on_it(world):
    folder, _ = world
    text = (folder / "params.yaml").read_text()
    raw = yaml.safe_load(text)
    raw["methods"]["grmp"]["strength"] = 3.0
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    try:
        dvc(folder, "repro", "settings")
        changed = json.loads(dvc(folder, "status", "--json"))
        again = called(folder, "grmp", "sweep", "--dry")
    finally:
        (folder / "params.yaml").write_text(text)
    names = {name for name in changed if not name.startswith("../")}  # without the other worlds' stages
    assert {n for n in names if n.split("@")[0] in {"fetch", "prepare", "backbone", "pretrain", "sweep"}} == {"sweep"}
    assert re.findall(r"^\S+-10(?=  )", again, re.MULTILINE) == ["sound-sim_wild-grmp-10", "published-sim_wild-grmp-10"]
