"""The ``collect`` stage: run records -> scores.csv, summary.csv, pairs.csv, metrics.json, cost.json, damaged.csv.

Records may come from another machine, so each is checked to the last column before a number is taken from it; one that is
damaged, or that params.yaml does not ask for, is named in damaged.csv and left out. The same predictions give the same
bytes; what a run took, which differs from run to run, stands apart in cost.json.
"""

import itertools
import json
import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from grmp.errors import UserError
from grmp.evaluate import METRICS, holm, interval, paired, scores
from grmp.files import write_json, write_text
from grmp.params import Evaluate, Params

LARGEST = {"run.json": 2**20, "predictions.csv": 2**28, "history.csv": 2**27}  # bytes
NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}"
SAME_INPUTS = ("backbone", "database", "splits")  # what two runs must share to be compared

_CELL = ["database", "method", "shots"]
_INTERVAL = list(interval([], 0.95, 10, 0))
COLUMNS = {
    "scores.csv": [*_CELL, "split", *METRICS, "status", "identity"],
    "summary.csv": [*_CELL, "metric", *_INTERVAL, "status"],
    "pairs.csv": ["question", *_CELL, "against", "metric", *_INTERVAL, "won", "p", "p_holm", "status"],
    "damaged.csv": ["record", "reason"],
}

Name = Annotated[str, Field(pattern=f"^{NAME}$")]
Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Text = Annotated[str, Field(max_length=1000)]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class Run(BaseModel):
    """run.json; docs/design.md says what each key holds."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    schema_: Literal[1] = Field(alias="schema")
    database: Name
    method: Name
    shots: Annotated[int, Field(gt=0)]
    splits: Annotated[int, Field(gt=0, le=10_000)]
    status: list[Text]
    parameters: dict[str, Any]
    inputs: dict[str, Hash]
    identity: Hash
    versions: dict[str, Text]
    device: Text
    threads: Annotated[int, Field(gt=0)]
    seconds: list[Seconds]
    trained_values: Annotated[int, Field(ge=0)]

    @model_validator(mode="after")
    def _lengths(self) -> "Run":
        if not len(self.status) == len(self.seconds) == self.splits:
            raise ValueError(f"{len(self.status)} states and {len(self.seconds)} times for {self.splits} splits")
        return self


@dataclass(frozen=True)
class Record:
    """One (database, method, shots), whole and checked."""

    run: Run
    predictions: pd.DataFrame  # split, image, quality, score
    history: pd.DataFrame  # split, epoch, learning_rate, task_loss, semantic_loss, angle_deg

    @property
    def cell(self) -> tuple[str, str, int]:
        """(database, method, shots)."""
        return self.run.database, self.run.method, self.run.shots


class Damaged(Exception):
    """A record that cannot be used; the message is one line that says why."""


def read_record(folder: Path) -> Record:
    """Read and check the record in ``folder`` (``.../<database>/<method>/<shots>``).

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
        raise Damaged(f"run.json cannot be read: {_line(error)}") from None
    if folder.parts[-3:] != (run.database, run.method, str(run.shots)):
        raise Damaged(f"run.json says {run.database}/{run.method}/{run.shots}")
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
        raise Damaged(f"{path.name} cannot be read: {_line(error)}") from None
    if list(table.columns) != list(columns):
        raise Damaged(f"{path.name} has the columns {', '.join(map(str, table.columns))}"[:200])
    for name, kind in columns.items():
        if kind is str:
            continue
        try:
            table[name] = table[name].replace("", "nan").astype(kind)
        except (ValueError, OverflowError) as error:
            raise Damaged(f"{path.name}: column {name}: {_line(error)}") from None
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
    wanted = list(itertools.product(params.run.databases, params.run.methods, params.run.shots))
    records, left_out = [], []
    for folder in _folders(root):
        place = _plain(folder.relative_to(root).as_posix())
        try:
            if root.resolve() not in folder.resolve().parents:
                raise Damaged("a link that leads out of results/runs")
            record = read_record(folder)
        except Damaged as damage:
            left_out.append((place, _plain(str(damage))))
            continue
        if record.cell in wanted:
            records.append(record)
        else:
            left_out.append((place, "not asked for by the group run of params.yaml"))
    records.sort(key=lambda record: wanted.index(record.cell))
    return records, pd.DataFrame(left_out, columns=COLUMNS["damaged.csv"])


def _folders(root: Path) -> Iterable[Path]:
    """Every visible folder three levels down, sorted; a folder being written begins with a point."""
    level = [root] if root.is_dir() else []
    for _ in range(3):
        level = [f for parent in level for f in sorted(parent.iterdir()) if f.is_dir() and not f.name.startswith(".")]
    return level


def score_table(records: list[Record], ranges: dict[str, tuple[float, float]]) -> pd.DataFrame:
    """One row a (database, method, shots, split): the metrics and a status.

    ``ranges`` are the databases' score ranges; rmse is NaN for a database that is not there.
    """
    rows = []
    for record in records:
        low, high = ranges.get(record.run.database, (math.nan, math.nan))
        by_split = dict(iter(record.predictions.groupby("split")))
        for split, status in enumerate(record.run.status):
            found: dict[str, Any] = dict.fromkeys(METRICS, math.nan) | {"status": f"failed: {status}"}
            if status == "ok":
                part = by_split[split]
                found = dict(scores(part["quality"], part["score"], low, high))
            rows.append(
                dict(zip(_CELL, record.cell, strict=True))
                | {"split": split}
                | found
                | {"identity": record.run.identity[:12]}
            )
    return pd.DataFrame(rows, columns=COLUMNS["scores.csv"])


def summary_table(table: pd.DataFrame, settings: Evaluate) -> pd.DataFrame:
    """One row a (database, method, shots, metric): median and mean over splits with their intervals."""
    rows = []
    for cell, part in table.groupby(_CELL, sort=False):
        for metric in METRICS:
            found = interval(part[metric], settings.level, settings.resamples, settings.seed)
            rows.append(
                dict(zip(_CELL, cell, strict=True)) | {"metric": metric} | found | {"status": _states(part["status"])}
            )
    return pd.DataFrame(rows, columns=COLUMNS["summary.csv"])


def pair_table(records: list[Record], table: pd.DataFrame, settings: Evaluate) -> pd.DataFrame:
    """Paired differences for every question of ``evaluate.pairs``, where both sides have been run.

    Two runs are compared only if they saw the same pictures, splits and backbone, and share their settings apart from the
    method's own; otherwise the row says what differs and holds no number. ``p_holm`` corrects over the rows (databases and
    shots) of one question and metric.
    """
    by_cell = {record.cell: record for record in records}
    values = dict(iter(table.groupby(_CELL)))
    rows = []
    for pair in settings.pairs:
        for database, method, shots in by_cell:
            other = (database, pair.against, shots)
            if method != pair.method or other not in by_cell:
                continue
            a, b = values[database, method, shots], values[other]
            differs = _difference(by_cell[database, method, shots].run, by_cell[other].run)
            for metric in ("srcc", "plcc"):
                found = {} if differs else _compare(a[metric], b[metric], settings)
                rows.append(
                    {"question": pair.question, "database": database, "shots": shots, "method": pair.method}
                    | {"against": pair.against, "metric": metric}
                    | found
                    | {"status": f"not comparable: {differs}" if differs else "ok"}
                )
    pairs = pd.DataFrame(rows, columns=COLUMNS["pairs.csv"])
    for _, family in pairs.groupby(["question", "method", "against", "metric"])["p"]:
        pairs.loc[family.index, "p_holm"] = holm(family.astype(float).tolist())
    return pairs


def _compare(a: pd.Series, b: pd.Series, settings: Evaluate) -> dict[str, float]:
    return paired(a.to_numpy(), b.to_numpy(), settings.level, settings.resamples, settings.seed)


def _difference(a: Run, b: Run) -> str:
    """What two runs must share and do not, or an empty string."""
    for name in SAME_INPUTS:
        if a.inputs.get(name) != b.inputs.get(name):
            return f"another {name}"
    for name in sorted((set(a.parameters) & set(b.parameters)) - {"method"}):
        if a.parameters[name] != b.parameters[name]:
            return f"other settings ({name})"
    return ""


def _states(status: pd.Series) -> str:
    """The distinct troubles with their counts, or ok."""
    counts = status[status != "ok"].value_counts(sort=False).sort_index()
    return "; ".join(f"{n} of {len(status)} splits: {text}" for text, n in counts.items()) or "ok"


def collect(params: Params, results: Path) -> None:
    """Write the tables of all records below ``results/runs``.

    Raises
    ------
    UserError
        If the disk is full or the folder cannot be written.
    """
    records, left_out = read_records(params, results)
    ranges = {d: found for d in params.run.databases if (found := score_range(results.parent, d))}
    table = score_table(records, ranges)
    summary = summary_table(table, params.evaluate)
    _write(results / "scores.csv", table)
    _write(results / "summary.csv", summary)
    _write(results / "pairs.csv", pair_table(records, table, params.evaluate))
    _write(results / "damaged.csv", left_out)
    write_json(results / "metrics.json", _metrics(summary))
    write_json(results / "cost.json", [_cost(record.run) for record in records])
    for row in left_out.itertuples():
        print(f"left out: results/runs/{row.record}: {row.reason}")


def score_range(world: Path, database: str) -> tuple[float, float] | None:
    """Score range of a prepared database, from its info.json; None where it is not prepared here."""
    path = world / "data/prepared" / database / "info.json"
    try:
        low, high = json.loads(path.read_text())["range"]
        return float(low), float(high)
    except FileNotFoundError:
        return None
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} is damaged ({_line(error)}); make it again with: dvc repro -f prepare@{database}"
        ) from None


def _metrics(summary: pd.DataFrame) -> dict[str, Any]:
    """Medians for ``dvc metrics``: database -> method -> shots -> metric; null where there is none."""
    found: dict[str, Any] = {}
    for row in summary.itertuples():
        place = found.setdefault(row.database, {}).setdefault(row.method, {}).setdefault(str(row.shots), {})
        place[row.metric] = round(row.median, 6) if np.isfinite(row.median) else None
    return found


def _cost(run: Run) -> dict[str, Any]:
    """What one run took."""
    return {
        "database": run.database,
        "method": run.method,
        "shots": run.shots,
        "seconds": round(sum(run.seconds), 1),
        "device": run.device,
        "threads": run.threads,
        "trained_values": run.trained_values,
    }


def _write(path: Path, table: pd.DataFrame) -> None:
    write_text(path, table.to_csv(index=False, float_format="%.6f", lineterminator="\n"))


def _line(error: Exception) -> str:
    """An exception's text on one line of bounded length."""
    return " ".join(str(error).split())[:160]


def _plain(text: str) -> str:
    """Names and messages as they may go to a terminal: no control characters."""
    return re.sub(r"[^\x20-\x7e]", "?", text)[:240]
