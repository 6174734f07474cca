"""One database after another: what each step trains on and tests, the same bytes twice, and what cannot be done."""

from pathlib import Path

import pandas as pd
import pytest

from grmp.clip.model import Tensors
from grmp.errors import UserError
from grmp.experiments import continual
from grmp.params import load
from tests.faults import copies

Call = tuple[list[str], Tensors | None, Tensors]  # databases, start and end of a fine-tuning


@pytest.fixture(scope="module")
def done(pretrained: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Call]]:
    """params.yaml of a world with the table, and what was fine-tuned for it."""
    file, calls, learn = copies.copy(pretrained, tmp_path_factory.mktemp("continual")), [], continual.learn

    def spy(contexts, split, start):
        found = learn(contexts, split, start)
        calls.append(([c.source.name for c in contexts], start, found.clip.weights))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(continual, "learn", spy)
        continual.continual(load(file), file.parent)
    return file, calls


@pytest.fixture(scope="module")
def table(done: tuple[Path, list[Call]]) -> pd.DataFrame:
    return pd.read_csv(done[0].parent / "results/continual.csv")


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


def test_models_go_on_start_anew_or_learn_both(done: tuple[Path, list[Call]]):
    """What each fine-tuning starts from and how many labels it sees."""
    calls = done[1][: len(done[1]) // 2]  # of the first of two splits
    first = next(tensors for names, start, tensors in calls if names == ["pre"] and start is None)
    assert [names for names, start, _ in calls if start is first] == [["target"]]
    assert sorted(names for names, start, _ in calls if start is None) == [["pre"], ["pre", "target"], ["target"]]
    ends = [tensors["ln_final.weight"].tolist() for *_, tensors in calls]
    assert len({tuple(end) for end in ends}) == len(ends) == 4


@pytest.mark.parametrize("after", [1, 6])
def test_an_interrupted_call_continues_to_the_same_bytes(done: tuple[Path, list[Call]], monkeypatch, after: int):
    """Ctrl-C during one of eight fine-tunings; at most the one that a later one starts from is repeated."""
    (file, _), calls, learn = done, [], continual.learn
    path, partial = file.parent / "results/continual.csv", file.parent / "results/partial"
    before = path.read_bytes()

    def stopped(*given):
        if len(calls) == after:
            raise KeyboardInterrupt
        calls.append(given)
        return learn(*given)

    monkeypatch.setattr(continual, "learn", stopped)
    with pytest.raises(KeyboardInterrupt):
        continual.continual(load(file), file.parent)
    assert path.read_bytes() == before
    assert list(partial.glob("*/*/*/0.json"))
    monkeypatch.setattr(continual, "learn", lambda *given: calls.append(given) or learn(*given))
    continual.continual(load(file), file.parent)
    assert path.read_bytes() == before
    assert 8 <= len(calls) <= 9
    assert [p.name for p in partial.glob("*")] in ([], ["locks"])


def test_an_empty_sequence_is_an_empty_table(pretrained: Path, tmp_path: Path):
    params = load(pretrained)
    empty = params.continual.model_copy(update={"sequence": []})
    continual.continual(params.model_copy(update={"continual": empty}), tmp_path)
    assert (tmp_path / "results/continual.csv").read_text() == ",".join(continual.COLUMNS) + "\n"


def test_a_database_that_is_not_prepared(world: Path):
    (world.parent / "data/prepared/target/info.json").unlink()
    with pytest.raises(UserError, match=r"target/info\.json not found; create it with: grmp data fetch target && grmp"):
        continual.continual(load(world), world.parent)


def test_a_loss_that_is_not_finite(world: Path):
    params = load(world).changed({"adapt.learning_rate": 1e30})
    with pytest.raises(UserError, match=r"split 0: loss is not finite .*; after pre, lower adapt.learning_rate$"):
        continual.continual(params, world.parent)
