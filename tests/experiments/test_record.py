"""Every way a record can be bad, made on purpose: one line that says why, before a number is used."""

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from grmp.experiments.record import CorruptRecord, read_record
from tests.report.sample import make_prepared, make_record

CELL = Path("results/runs/sound/alpha/meta/25")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database and method, two shot counts."""
    world = tmp_path_factory.mktemp("records")
    index = make_prepared(world, "alpha", "simulated", 0)
    for shots in (25, 50):
        make_record(world, "alpha", "meta", shots, index)
    return world


@pytest.fixture
def world(made: Path, tmp_path: Path) -> Path:
    return shutil.copytree(made, tmp_path / "world")


def edit(**changes: object) -> Callable[[Path], None]:
    """Change keys of run.json; None deletes one."""

    def do(world: Path) -> None:
        path = world / CELL / "run.json"
        run = json.loads(path.read_text()) | changes
        path.write_text(json.dumps({k: v for k, v in run.items() if v is not None}))

    return do


def truncate(name: str, share: float) -> Callable[[Path], None]:
    def do(world: Path) -> None:
        path = world / CELL / name
        os.truncate(path, int(path.stat().st_size * share))

    return do


def wrong_place(world: Path) -> None:
    shutil.rmtree(world / CELL)
    shutil.copytree(world / CELL.with_name("50"), world / CELL)


DAMAGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "half run.json": (truncate("run.json", 0.5), "run.json cannot be read"),
    "no run.json": (lambda w: (w / CELL / "run.json").unlink(), "run.json is missing"),
    "no history": (lambda w: (w / CELL / "history.csv").unlink(), "history.csv is missing"),
    "cut predictions": (
        truncate("predictions.csv", 0.99),
        "predictions.csv was changed after run.json was written",
    ),
    "another cell's record": (wrong_place, "run.json belongs to sound/alpha/meta/50"),
    "escaping name": (edit(database="../../etc"), "database: String should match"),
    "another schema": (edit(schema=1), "schema: Input should be 3"),
    "unknown key": (edit(extra=1), "extra: Extra inputs"),
    "missing key": (edit(identity=None), "identity: Field required"),
    "number as text": (edit(shots="25"), "Input should be a valid integer"),
    "no hash": (edit(identity="abc"), "identity: String should match"),
    "times that are none": (edit(seconds=[float("nan")] * 5), "seconds.0"),
    "no hash of a table": (edit(files={}), "predictions.csv was changed after run.json was written"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_a_corrupt_record_is_refused(world: Path, kind: str):
    damage, reason = DAMAGE[kind]
    damage(world)
    with pytest.raises(CorruptRecord) as caught:
        read_record(world / CELL)
    assert reason in str(caught.value)
    assert "\n" not in str(caught.value)


def test_read_record_gives_typed_tables(made: Path):
    record = read_record(made / CELL)
    assert record.run.key == ("sound", "alpha", "meta", 25)
    assert len(record.predictions) == 5 * 40
    assert record.predictions["score"].dtype == float
    assert record.history["epoch"].max() == 4
