"""Run records: the result of one (protocol, database, method, shots), written as a whole or not at all.

``run.json`` (:class:`Run`) states what was computed and from what, ``predictions.csv`` holds the scores, ``history.csv`` the
training curves; docs/design.md describes keys and columns. A record may come from another machine, so its hashes are
checked before a number is used. Splits of an unfinished run are kept in ``results/partial/<run>/``.
"""

import platform
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import pandas as pd
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from grmp.errors import one_line
from grmp.experiments.identity import RunIdentity
from grmp.files import read_json, sha256, sha256_of, whole_folder, write_json
from grmp.params import Name, Params, Positive, RunKey, Shots

PACKAGES = ("grmp", "torch", "numpy", "scipy", "scikit-learn", "open_clip_torch")
TABLES: dict[str, dict[str, type]] = {
    "predictions.csv": {"split": int, "image": str, "quality": float, "score": float},
    "history.csv": {"split": int, "epoch": int}
    | dict.fromkeys(("learning_rate", "task_loss", "semantic_loss", "angle_deg"), float),
}
EXCLUDED = ["record", "reason"]

Hash = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class CorruptRecord(Exception):
    """A record that cannot be used; the message is one line that states why."""


class Run(BaseModel):
    """``run.json``, written and read."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, populate_by_name=True)

    schema_: Literal[3] = Field(default=3, alias="schema")
    protocol: Name
    database: Name
    method: Name
    shots: Shots
    splits: Positive
    status: list[str]  # "ok", or why the split failed
    parameters: dict[str, Any]
    inputs: dict[str, Hash]
    identity: Hash
    versions: dict[str, str]
    device: str
    threads: Positive
    seconds: list[Seconds]
    peak_bytes: int | None = None  # memory of the process, or of the GPU
    trained_values: int
    chosen: list[dict[str, float]] = Field(default_factory=list)  # settings, for each split
    files: dict[str, Hash]  # of the two tables

    @property
    def key(self) -> RunKey:
        """Which run it is."""
        return RunKey(self.protocol, self.database, self.method, self.shots)


class FinishedSplit(BaseModel):
    """The result of one split, kept until the record is written."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: list[str]  # one row per test image
    quality: list[float]
    score: list[float]
    history: list[dict[str, int | float]] = Field(default_factory=list)
    trained_values: int = 0
    chosen: dict[str, float] = Field(default_factory=dict)  # settings, by a method that chooses them
    seconds: float = 0.0
    peak_bytes: int | None = None
    status: str = "ok"


@dataclass(frozen=True)
class Record:
    """One record, complete and checked."""

    run: Run
    predictions: pd.DataFrame  # split, image, quality, score
    history: pd.DataFrame  # split, epoch, learning_rate, task_loss, semantic_loss, angle_deg


def partial(root: Path, name: str) -> Path:
    """Folder of the finished splits of something unfinished."""
    return root / "results/partial" / name


def unfinished(root: Path, key: RunKey, identity: RunIdentity, device: str, threads: int) -> Path:
    """The same of a run. A record states one device, number of threads and set of versions, so others begin anew."""
    return partial(root, str(key)) / sha256_of([identity.digest, device, threads, versions()])


def write_split(folder: Path, split: int, result: FinishedSplit) -> None:
    """Keep one finished split."""
    write_json(folder / f"{split}.json", result.model_dump())


def read_split(folder: Path, split: int) -> FinishedSplit | None:
    """A finished split, or None: one that is missing or corrupt is computed again."""
    try:
        return FinishedSplit.model_validate(read_json(folder / f"{split}.json"))
    except (OSError, ValueError):
        return None


def versions() -> dict[str, str]:
    """The versions that a number may depend on, apart from the decoders of images."""
    return {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}


def write(
    root: Path,
    key: RunKey,
    identity: RunIdentity,
    splits: Sequence[FinishedSplit],
    device: str,
    threads: int,
    decoders: dict[str, str],  # the versions with which the images were prepared
) -> None:
    """Combine splits into a record; finished ones stay below results/partial until none is left that has to be tried again."""
    each = [
        pd.DataFrame({"split": i, "image": s.image, "quality": s.quality, "score": s.score})
        for i, s in enumerate(splits)
    ]
    # one flat list of rows: concatenating with the empty history of a failed split would turn `epoch` into floats
    history = [{"split": i} | row for i, s in enumerate(splits) for row in s.history]
    with whole_folder(key.folder(root)) as folder:
        pd.concat(each).to_csv(folder / "predictions.csv", index=False)
        pd.DataFrame(history, columns=list(TABLES["history.csv"])).to_csv(folder / "history.csv", index=False)
        run = Run(
            **key._asdict(),
            splits=len(splits),
            status=[s.status for s in splits],
            parameters=identity.parameters,
            inputs=identity.inputs,
            identity=identity.digest,
            versions=versions() | decoders,
            device=device,
            threads=threads,
            seconds=[s.seconds for s in splits],
            peak_bytes=max((s.peak_bytes for s in splits if s.peak_bytes), default=None),
            trained_values=max(s.trained_values for s in splits),
            chosen=[s.chosen for s in splits] if any(s.chosen for s in splits) else [],
            files={name: sha256(folder / name) for name in TABLES},
        )
        write_json(folder / "run.json", run.model_dump(by_alias=True))
    if all(s.status == "ok" for s in splits):
        shutil.rmtree(partial(root, str(key)), ignore_errors=True)


def read_run(folder: Path) -> Run | None:
    """The run.json in ``folder``, or None if it is missing or corrupt."""
    try:
        return Run.model_validate(read_json(folder / "run.json"))
    except (OSError, ValueError):
        return None


def is_current(folder: Path, identity: str) -> bool:
    """Whether ``folder`` holds the record of this identity, unaltered, with no failed split."""
    try:
        run = _checked(folder)
    except CorruptRecord:
        return False
    return run.identity == identity and set(run.status) == {"ok"}


def _checked(folder: Path) -> Run:
    """The run.json in ``folder``. Raises CorruptRecord unless it belongs there and its tables are as they were written."""
    for name in ("run.json", *TABLES):
        if not (folder / name).is_file():
            raise CorruptRecord(f"{name} is missing")
    try:
        run = Run.model_validate(read_json(folder / "run.json"))
    except ValidationError as error:
        first = error.errors()[0]
        raise CorruptRecord(f"run.json: {'.'.join(map(str, first['loc'])) or 'record'}: {first['msg']}") from None
    except (ValueError, OSError) as error:
        raise CorruptRecord(f"run.json cannot be read: {one_line(error)}") from None
    place = tuple(map(str, run.key))
    if folder.parts[-len(place) :] != place:
        raise CorruptRecord(f"run.json belongs to {'/'.join(place)}")
    for name in TABLES:
        if sha256(folder / name) != run.files.get(name):
            raise CorruptRecord(f"{name} was changed after run.json was written")
    return run


def read_record(folder: Path) -> Record:
    """The record in ``folder``. Raises CorruptRecord if a file is missing, or is not what was written."""
    run = _checked(folder)
    predictions, history = (_table(folder / name, columns) for name, columns in TABLES.items())
    return Record(run, predictions, history)


def _table(path: Path, columns: dict[str, type]) -> pd.DataFrame:
    """A table of a record; an image may be called "nan", and an empty field of a float column is NaN."""
    numbers = {name: ["", "nan"] for name, kind in columns.items() if kind is float}
    return pd.read_csv(path, dtype=columns, keep_default_na=False, na_values=numbers)


def read_records(params: Params, results: Path) -> tuple[list[Record], pd.DataFrame]:
    """All records that params.yaml asks for, in its order, and a table ``record, reason`` of the excluded ones."""
    root = results / "runs"
    wanted = params.run.run_keys()
    records, excluded = [], []
    for folder in sorted(root.glob("*/*/*/*")):
        place = folder.relative_to(root).as_posix()
        if not folder.is_dir() or re.search(r"(^|/)\.", place):  # hidden: a folder that is being written
            continue
        try:
            record = read_record(folder)
            if record.run.key not in wanted:
                raise CorruptRecord("not requested by the group run of params.yaml")
            records.append(record)
        except CorruptRecord as reason:
            excluded.append((place, str(reason)))
    records.sort(key=lambda record: wanted.index(record.run.key))
    return records, pd.DataFrame(excluded, columns=EXCLUDED)
