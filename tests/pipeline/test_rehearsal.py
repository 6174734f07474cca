"""The paper's own settings through every stage, grid, notebook and page (tests/pipeline/rehearsal.py)."""

import shutil
from pathlib import Path

import pandas as pd
import pytest
import yaml

from grmp.data import databases
from grmp.params import load
from tests.conftest import ROOT
from tests.data import layouts
from tests.pipeline.rehearsal import (
    LARGE,
    LOG,
    TRUE_SIZE,
    Miniature,
    chosen,
    problems,
    rehearse,
    smaller,
    smaller_settings,
)


def test_every_run_of_the_paper_is_in_it(tmp_path: Path):
    settings = smaller_settings() | {"extends": str(ROOT / "params.yaml")}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(settings))
    ours, paper = load(tmp_path / "params.yaml"), load(ROOT / "params.yaml")
    assert [key for key in ours.run.run_keys() if key.database not in LARGE] == paper.run.run_keys()
    claimed = set(pd.read_csv(ROOT / "grmp/report/claims.csv")["database"]) - {"*"}
    assert {key.database for key in ours.run.run_keys()} >= claimed
    assert ours.report.notebooks == paper.report.notebooks
    assert ours.data.databases == [*paper.data.databases, *LARGE]
    (tmp_path / "true_size.yaml").write_text(yaml.safe_dump(TRUE_SIZE | {"extends": "params.yaml"}))
    true_size = load(tmp_path / "true_size.yaml")
    assert {true_size.methods[key.method].kind for key in true_size.run.run_keys()} == {
        method.kind for method in paper.methods.values()
    }


def test_an_archive_keeps_whole_rows_of_the_images_that_are_in_it():
    entry = databases.get("csiq")
    names = [
        f"{r}.{kind}.{level}.png" for r in ("1600", "lady", "lake") for kind in ("AWGN", "BLUR") for level in (1, 2)
    ]
    table = "ref_name,dist_name,dmos\n" + "".join(f"{n.split('.')[0]}.png,{n},0.5\n" for n in names)
    kept = chosen(entry, Miniature((8, 8), 2, 2), table.encode())
    assert kept == {"1600.AWGN.1.png", "1600.BLUR.1.png", "lady.AWGN.1.png", "lady.BLUR.1.png"}
    tree = layouts.pictures([f"CSIQ/dst_imgs/{n}" for n in names]) | {"CSIQ/scores.csv": table.encode()}
    made = smaller(entry, tree, kept, (8, 8))
    assert {path.rpartition("/")[2] for path in made} == kept | {"scores.csv"}
    assert [line.split(",")[1] for line in made["CSIQ/scores.csv"].decode().splitlines()] == [
        "dist_name",
        *sorted(kept),
    ]


@pytest.mark.slow
@pytest.mark.pipeline
@pytest.mark.timeout(7200)
def test_the_paper_is_rehearsed(tmp_path: Path, shared: Path):
    here = rehearse(tmp_path, shared)
    assert problems(here) == [], (tmp_path / LOG).read_text()[-3000:]
    shutil.rmtree(tmp_path)  # two gigabytes
