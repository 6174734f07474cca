"""Grids of runs and their keys."""

from pathlib import Path

import pytest

from grmp import params
from grmp.errors import UserError
from grmp.params import Grid, RunKey
from grmp.params.grid import Run


def test_a_key_names_its_run():
    key = RunKey("sound", "koniq10k_to_livec", "grmp", "20pct")
    assert (key.source, key.target) == ("koniq10k", "livec")
    assert str(key) == "sound-koniq10k_to_livec-grmp-20pct"
    assert key.command == "grmp run koniq10k_to_livec grmp 20pct --protocol sound"
    assert key.folder(Path("demo")) == Path("demo/results/runs/sound/koniq10k_to_livec/grmp/20pct")
    assert RunKey("sound", "livec", "grmp", 50).source == RunKey("sound", "livec", "grmp", 50).target == "livec"


def test_a_grid_is_the_product_of_its_lists():
    grid = Grid(protocols=["sound"], databases=["a", "b"], methods=["m"], shots=[5, "20pct"])
    assert [str(key) for key in grid.run_keys()] == ["sound-a-m-5", "sound-a-m-20pct", "sound-b-m-5", "sound-b-m-20pct"]
    assert list(grid.model_copy(update={"methods": []}).run_keys()) == []


def test_a_run_of_two_grids_is_one_run():
    grid = Grid(protocols=["sound"], databases=["a"], methods=["m"], shots=[5])
    both = Run(few_shot=grid, ablation=grid, full=grid.model_copy(update={"shots": ["20pct"]}), cross=grid)
    assert [str(key) for key in both.run_keys()] == ["sound-a-m-5", "sound-a-m-20pct"]


@pytest.mark.parametrize("text", ["0", "-5", "200pct", "0pct", "many", "../x"])
def test_labels_on_the_command_line(text):
    assert (params.shots("50"), params.shots("20pct")) == (50, "20pct")
    with pytest.raises(UserError, match="not a number of labelled images"):
        params.shots(text)
