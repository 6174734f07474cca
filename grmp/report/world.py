"""What a world holds for the report: settings, tables, databases, records. What is absent is None or empty."""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from grmp import params as settings
from grmp.collect import COLUMNS, Damaged, Record, read_record
from grmp.databases.prepared import Prepared, load
from grmp.errors import UserError
from grmp.params import Params


@dataclass(frozen=True)
class World:
    """The folder of a params.yaml, read-only."""

    folder: Path
    params: Params

    @classmethod
    def open(cls, folder: str | Path = ".") -> "World":
        """Read params.yaml in ``folder``."""
        return cls(Path(folder), settings.load(Path(folder) / "params.yaml"))

    @property
    def results(self) -> Path:
        """Where everything is written."""
        return self.folder / "results"

    @cached_property
    def scores(self) -> pd.DataFrame:
        """scores.csv, or its columns alone."""
        return self._table("scores.csv")

    @cached_property
    def summary(self) -> pd.DataFrame:
        """summary.csv, or its columns alone."""
        return self._table("summary.csv")

    @cached_property
    def pairs(self) -> pd.DataFrame:
        """pairs.csv, or its columns alone."""
        return self._table("pairs.csv")

    @cached_property
    def left_out(self) -> pd.DataFrame:
        """damaged.csv: records that were left out, and why."""
        return self._table("damaged.csv")

    @cached_property
    def cost(self) -> pd.DataFrame:
        """cost.json: what every run took."""
        found = self._json(self.results / "cost.json") or []
        return pd.DataFrame(
            found, columns=["database", "method", "shots", "seconds", "device", "threads", "trained_values"]
        )

    @cached_property
    def backbone(self) -> dict[str, Any] | None:
        """results/backbone.json: what was measured of the backbone."""
        return self._json(self.results / "backbone.json")

    def pretrain(self, variant: str) -> pd.DataFrame | None:
        """The losses of one variant: ``epoch, database, task, support_loss, query_loss, seconds``."""
        path = self.results / "pretrain" / f"{variant}.csv"
        return pd.read_csv(path, dtype={"database": str, "task": str}) if path.is_file() else None

    def database(self, name: str) -> Prepared | None:
        """A prepared database, or None."""
        folder = self.folder / "data/prepared" / name
        return load(folder) if (folder / "info.json").is_file() else None  # info.json is written last

    def record(self, database: str, method: str, shots: int) -> Record | None:
        """A run record, or None where it is missing or damaged."""
        try:
            return read_record(self.results / "runs" / database / method / str(shots))
        except Damaged:
            return None

    def opinion(self, database: str) -> str:
        """What the opinions of a database are to be called on axes and in tables."""
        info = self._json(self.folder / "data/prepared" / database / "info.json")
        return "simulated opinion" if (info or {}).get("kind") == "simulated" else "opinion score"

    def missing(self, shots: list[int]) -> list[tuple[str, str, int]]:
        """(database, method, shots) of the runs that params.yaml asks for and nobody has scored."""
        done = set(zip(self.scores["database"], self.scores["method"], self.scores["shots"], strict=True))
        run = self.params.run
        wanted = [(d, m, s) for d in run.databases for m in run.methods for s in shots]
        return [cell for cell in wanted if cell not in done]

    def _table(self, name: str) -> pd.DataFrame:
        path = self.results / name
        if not path.is_file():
            return pd.DataFrame(columns=COLUMNS[name])
        text = dict.fromkeys(
            ("database", "method", "against", "status", "identity", "record", "reason", "question"), str
        )
        table = pd.read_csv(path, dtype=text)
        if list(table.columns) != COLUMNS[name]:
            raise UserError(f"{path} was written by another version; make it again with: dvc repro -f collect")
        return table

    @staticmethod
    def _json(path: Path) -> Any:
        try:
            return json.loads(path.read_text())
        except FileNotFoundError:
            return None
        except ValueError:
            raise UserError(f"{path} is damaged; delete it and run: dvc repro") from None
