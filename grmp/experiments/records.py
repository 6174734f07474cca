"""Reading run records, which may come from another machine: each is checked to the last column before a number is taken.

What a record holds is written by runs.py; docs/design.md says what each key and column means.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from grmp.files import sha256
from grmp.params import ACROSS, Params, RunKey, Shots

LARGEST = {"run.json": 2**20, "predictions.csv": 2**28, "history.csv": 2**27}  # bytes
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
LEFT_OUT = ["record", "reason"]
DEPTH = 4  # results/runs/<protocol>/<database>/<method>/<shots>

Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=1000)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Run(BaseModel):
    """run.json; docs/design.md says what each key holds."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    schema_: Literal[3] = Field(alias="schema")
    protocol: Name
    database: Name
    method: Name
    shots: Shots
    splits: Annotated[int, Field(gt=0, le=10_000)]
    status: list[Text]
    parameters: dict[str, Any]
    inputs: dict[str, Hash]
    identity: Hash
    versions: dict[str, Text]
    device: Text
    threads: Annotated[int, Field(gt=0)]
    seconds: list[Seconds]
    peak_bytes: Annotated[int, Field(ge=0)] | None = None  # of the process or the GPU
    trained_values: Annotated[int, Field(ge=0)]
    files: dict[str, Hash]  # of the two tables

    @model_validator(mode="after")
    def _lengths(self) -> "Run":
        if set(self.files) != {"predictions.csv", "history.csv"}:
            raise ValueError("files must name the two tables")
        if not len(self.status) == len(self.seconds) == self.splits:
            raise ValueError(f"{len(self.status)} states and {len(self.seconds)} times for {self.splits} splits")
        return self


@dataclass(frozen=True)
class Record:
    """One run, whole and checked."""

    run: Run
    predictions: pd.DataFrame  # split, image, quality, score
    history: pd.DataFrame  # split, epoch, learning_rate, task_loss, semantic_loss, angle_deg

    @property
    def cell(self) -> RunKey:
        """Which run it is."""
        return RunKey(self.run.protocol, self.run.database, self.run.method, self.run.shots)

    @property
    def target(self) -> str:
        """The database whose pictures were scored."""
        return self.run.database.split(ACROSS)[-1]


class Damaged(Exception):
    """A record that cannot be used; the message is one line that says why."""


def read_record(folder: Path) -> Record:
    """Read and check the record in ``folder`` (``.../<protocol>/<database>/<method>/<shots>``).

    Raises
    ------
    Damaged
        If a file is missing, too large, a link, or does not hold what it should.
    """
    for name, most in LARGEST.items():
        path = folder / name
        if path.is_symlink() or folder.is_symlink():
            raise Damaged(f"{name} is a link; a record holds plain files")
        if not path.is_file():
            raise Damaged(f"{name} is missing")
        if path.stat().st_size > most:
            raise Damaged(f"{name} is larger than {most >> 20} MB")
    try:
        run = Run.model_validate(json.loads((folder / "run.json").read_text()))
    except ValidationError as error:
        first = error.errors()[0]
        raise Damaged(f"run.json: {'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}"[:200]) from None
    except (ValueError, RecursionError, OSError) as error:
        raise Damaged(f"run.json cannot be read: {one_line(error)}") from None
    place = (run.protocol, run.database, run.method, str(run.shots))
    if folder.parts[-4:] != place:
        raise Damaged(f"run.json says {'/'.join(place)}")
    for name, digest in run.files.items():
        if sha256(folder / name) != digest:
            raise Damaged(f"{name} is not the one that run.json was written with")
    predictions = _table(folder / "predictions.csv", {"split": int, "image": str, "quality": float, "score": float})
    numbers = ("learning_rate", "task_loss", "semantic_loss", "angle_deg")
    history = _table(folder / "history.csv", {"split": int, "epoch": int, **dict.fromkeys(numbers, float)})
    _check_rows(run, predictions, history)
    return Record(run, predictions, history)


def _table(path: Path, columns: dict[str, type]) -> pd.DataFrame:
    """A csv of exactly these columns; "nan" and "inf" are numbers, an empty field of a float column is NaN."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, on_bad_lines="error")
    except (ValueError, OSError) as error:
        raise Damaged(f"{path.name} cannot be read: {one_line(error)}") from None
    if list(table.columns) != list(columns):
        raise Damaged(f"{path.name} has the columns {', '.join(map(str, table.columns))}"[:200])
    for name, kind in columns.items():
        if kind is str:
            continue
        try:
            table[name] = table[name].replace("", "nan").astype(kind)
        except (ValueError, OverflowError) as error:
            raise Damaged(f"{path.name}: column {name}: {one_line(error)}") from None
    return table


def _check_rows(run: Run, predictions: pd.DataFrame, history: pd.DataFrame) -> None:
    """Splits that are ok have predictions, none has one twice, and quality is in [0, 1]."""
    for name, table in (("predictions.csv", predictions), ("history.csv", history)):
        if not table["split"].between(0, run.splits - 1).all():
            raise Damaged(f"{name} holds splits outside 0 to {run.splits - 1}")
    if not predictions["quality"].between(0, 1).all():
        raise Damaged("predictions.csv: quality is not within 0 and 1 everywhere")
    if (predictions["image"] == "").any() or predictions["image"].str.len().max() > 1000:
        raise Damaged("predictions.csv: a picture's name is empty or too long")
    if predictions.duplicated(["split", "image"]).any():
        raise Damaged("predictions.csv names a picture twice in one split")
    found = set(predictions["split"])
    missing = [i for i, status in enumerate(run.status) if status == "ok" and i not in found]
    if missing:
        raise Damaged(f"predictions.csv lacks split {missing[0]}, which run.json calls ok")


def read_records(params: Params, results: Path) -> tuple[list[Record], pd.DataFrame]:
    """All records that params.yaml asks for, in its order, and a table ``record, reason`` of what was left out."""
    root = results / "runs"
    wanted = params.run.run_keys()
    records, left_out = [], []
    for folder in _folders(root):
        place = plain(folder.relative_to(root).as_posix())
        try:
            if root.resolve() not in folder.resolve().parents:
                raise Damaged("a link that leads out of results/runs")
            record = read_record(folder)
        except Damaged as damage:
            left_out.append((place, plain(str(damage))))
            continue
        if record.cell in wanted:
            records.append(record)
        else:
            left_out.append((place, "not asked for by the group run of params.yaml"))
    records.sort(key=lambda record: wanted.index(record.cell))
    return records, pd.DataFrame(left_out, columns=LEFT_OUT)


def _folders(root: Path) -> Iterable[Path]:
    """Every visible folder four levels down, sorted; a folder being written begins with a point."""
    level = [root] if root.is_dir() else []
    for _ in range(DEPTH):
        level = [f for parent in level for f in sorted(parent.iterdir()) if f.is_dir() and not f.name.startswith(".")]
    return level


def one_line(error: Exception) -> str:
    """An exception's text on one line of bounded length."""
    return " ".join(str(error).split())[:160]


def plain(text: str) -> str:
    """Names and messages as they may go to a terminal: no control characters."""
    return re.sub(r"[^\x20-\x7e]", "?", text)[:240]
