"""One database after another: what each step trains on and tests, the same bytes twice, and what cannot be done."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from grmp.data.dataset import array
from grmp.errors import UserError
from grmp.experiments import continual
from grmp.params import load
from tests import worlds

SEQUENCE = ["pre", "target"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return worlds.build(tmp_path_factory.mktemp("continual"), continual={"sequence": SEQUENCE})


@pytest.fixture(scope="module")
def table(world: Path) -> pd.DataFrame:
    continual.continual(load(world), world.parent)
    return pd.read_csv(world.parent / "results/continual.csv")


def test_every_step_tests_all_databases_so_far(table: pd.DataFrame):
    assert table.columns.tolist() == continual.COLUMNS
    for _, part in table.groupby(["strategy", "split"]):
        assert list(zip(part["step"], part["learned"], part["database"], strict=True)) == [
            (0, "pre", "pre"),
            (1, "target", "pre"),
            (1, "target", "target"),
        ]
    assert table.groupby("strategy").size().to_dict() == {"gate": 6, "joint": 6, "sequential": 6}


def test_the_strategies_agree_on_the_first_database_and_differ_afterwards(table: pd.DataFrame):
    by = table.pivot(index=["split", "step", "database"], columns="strategy", values="srcc")
    first = by.index.get_level_values("step") == 0
    assert by[first].nunique(axis=1).eq(1).all()
    assert by[~first].nunique(axis=1).gt(1).any()


def test_models_go_on_start_anew_or_learn_both(world: Path, monkeypatch: pytest.MonkeyPatch):
    """What each fine-tuning starts from and how many labels it sees."""
    calls = []

    def spy(contexts, split, start, learn=continual.learn):
        found = learn(contexts, split, start)
        calls.append(([c.source.name for c in contexts], start, found.clip.weights))
        return found

    monkeypatch.setattr(continual, "learn", spy)
    continual.continual(load(world), world.parent)
    calls = calls[: len(calls) // 2]  # of the first of two splits
    first = next(tensors for names, start, tensors in calls if names == ["pre"] and start is None)
    assert [names for names, start, _ in calls if start is first] == [["target"]]
    assert sorted(names for names, start, _ in calls if start is None) == [["pre"], ["pre", "target"], ["target"]]
    ends = [tensors["ln_final.weight"].tolist() for *_, tensors in calls]
    assert len({tuple(end) for end in ends}) == len(ends) == 4


@pytest.mark.parametrize("after", [1, 3, 6])
def test_an_interrupted_call_continues_to_the_same_bytes(world: Path, table: pd.DataFrame, monkeypatch, after: int):
    """Ctrl-C during one of eight fine-tunings; at most the one that a later one starts from is repeated."""
    path, calls, learn = world.parent / "results/continual.csv", [], continual.learn
    before = path.read_bytes()

    def stopped(*given):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(given)
        return learn(*given)

    monkeypatch.setattr(continual, "learn", stopped)
    with pytest.raises(KeyboardInterrupt):
        continual.continual(load(world), world.parent)
    assert path.read_bytes() == before
    assert list((world.parent / "results/partial").glob("*/*/*/0.json"))
    monkeypatch.setattr(continual, "learn", lambda *given: calls.append(given) or learn(*given))
    continual.continual(load(world), world.parent)
    assert path.read_bytes() == before
    assert 8 <= len(calls) <= 9
    assert [p.name for p in (world.parent / "results/partial").glob("*")] in ([], ["locks"])


def test_an_empty_sequence_is_an_empty_table(tmp_path: Path):
    params = load(worlds.build(tmp_path))
    continual.continual(params, tmp_path)
    assert (tmp_path / "results/continual.csv").read_text() == ",".join(continual.COLUMNS) + "\n"


class TestBadInput:
    def test_a_database_that_is_not_prepared(self, tmp_path: Path):
        path = worlds.build(tmp_path, continual={"sequence": SEQUENCE})
        (tmp_path / "data/prepared/target/info.json").unlink()
        with pytest.raises(UserError, match=r"target/info\.json not found; create it with: dvc repro prepare@target$"):
            continual.continual(load(path), tmp_path)

    def test_databases_of_different_sizes(self, tmp_path: Path):
        path = worlds.build(tmp_path, continual={"sequence": SEQUENCE})
        file = tmp_path / "data/prepared/target" / array("pillow")
        np.save(file, np.load(file)[..., :34, :34])
        with pytest.raises(
            UserError, match=r"different sizes \(pre 36 x 36, target 34 x 34\); run: dvc repro prepare$"
        ):
            continual.continual(load(path), tmp_path)
        assert not (tmp_path / "results/continual.csv").exists()

    def test_a_loss_that_is_not_finite(self, tmp_path: Path):
        rate = {"adapt": {"learning_rate": 1e30}}
        path = worlds.build(tmp_path, continual={"sequence": SEQUENCE}, **rate)
        with pytest.raises(UserError, match=r"split 0: loss is not finite .*; after pre, lower adapt.learning_rate$"):
            continual.continual(load(path), tmp_path)
        assert json.loads((tmp_path / "data/prepared/pre/info.json").read_text())  # inputs are untouched

    @pytest.mark.parametrize(
        ("changed", "message"),
        [
            (
                {"sequence": ["pre", "nowhere"]},
                r"continual.sequence \(of data.databases\): 'nowhere' is not defined; known: pre, ",
            ),
            ({"sequence": ["pre"]}, "continual.sequence needs two databases or more, each of them once"),
            (
                {"sequence": ["pre", "target", "pre"]},
                "continual.sequence needs two databases or more, each of them once",
            ),
            ({"method": "ridge"}, r"continual.method \(of kind tune\): 'ridge' is not defined"),
            ({"splits": 9}, "continual.splits is 9, but splits.count is 3"),
        ],
    )
    def test_settings(self, tmp_path: Path, changed: dict, message: str):
        with pytest.raises(UserError, match=message):
            load(worlds.build(tmp_path, continual=changed))
