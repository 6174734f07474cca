"""What a world holds for the report: settings, tables, databases, records. What is absent is None or empty."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from grmp import params as settings
from grmp.data.dataset import Dataset, load
from grmp.errors import UserError
from grmp.experiments.record import CorruptRecord, Record, read_record
from grmp.files import read_json
from grmp.params import Grid, Params, RunKey
from grmp.report.collect import COLUMNS

TEXTS = (
    "protocol",
    "database",
    "method",
    "against",
    "distortion",
    "status",
    "identity",
    "record",
    "reason",
    "question",
)


@dataclass(frozen=True)
class Results:
    """The folder of a params.yaml, read-only."""

    root: Path
    params: Params
    asked: set[str] = field(default_factory=set, compare=False)  # files, below ``root``, that somebody has looked into
    _read: dict[str, pd.DataFrame] = field(default_factory=dict, compare=False, repr=False)

    @classmethod
    def open(cls, root: str | Path = ".", protocol: str = "") -> "Results":
        """Read params.yaml in ``root``, under a protocol: its first one if none is named."""
        params = settings.load(Path(root) / "params.yaml")
        return cls(Path(root), params.under(protocol) if protocol else params)

    def under(self, protocol: str) -> "Results":
        """The same folder under another protocol: its tables hold the runs of that protocol."""
        return Results(self.root, self.params.under(protocol), self.asked, self._read)

    @property
    def grid(self) -> Grid:
        """The grid of few labels, which most tables are about."""
        return self.params.run.few_shot

    @property
    def folder(self) -> Path:
        """Where everything is written."""
        return self.root / "results"

    @property
    def scores(self) -> pd.DataFrame:
        """scores.csv under this protocol, or its columns alone."""
        return self._mine("scores.csv")

    @property
    def summary(self) -> pd.DataFrame:
        """summary.csv under this protocol, or its columns alone."""
        return self._mine("summary.csv")

    @property
    def pairs(self) -> pd.DataFrame:
        """pairs.csv under this protocol, or its columns alone."""
        return self._mine("pairs.csv")

    @property
    def distortions(self) -> pd.DataFrame:
        """distortions.csv under this protocol, or its columns alone."""
        return self._mine("distortions.csv")

    def _mine(self, name: str) -> pd.DataFrame:
        table = self.table(name)
        return table[table["protocol"] == self.params.protocol].reset_index(drop=True)

    @property
    def left_out(self) -> pd.DataFrame:
        """excluded.csv: records that were left out, and why."""
        return self.table("excluded.csv")

    @property
    def cost(self) -> pd.DataFrame:
        """cost.json: what every run took."""
        columns = [
            "protocol",
            "database",
            "method",
            "shots",
            "seconds",
            "device",
            "threads",
            "trained_values",
            "peak_bytes",
        ]
        try:
            return pd.DataFrame(self._json("results/cost.json") or [], columns=columns)
        except (ValueError, TypeError, AttributeError):
            raise UserError(
                f"{self.folder / 'cost.json'} is damaged; make it again with: dvc repro -f collect"
            ) from None

    @property
    def backbone(self) -> dict[str, Any] | None:
        """results/backbone.json: what was measured of the backbone."""
        return self._json("results/backbone.json")

    def pretrain(self, variant: str) -> pd.DataFrame | None:
        """The losses of one variant: ``epoch, database, task, support_loss, query_loss, seconds``."""
        path = self.folder / "pretrain" / f"{variant}.csv"
        self.asked.add(f"results/pretrain/{variant}.csv")
        return pd.read_csv(path, dtype={"database": str, "task": str}) if path.is_file() else None

    def database(self, name: str) -> Dataset | None:
        """A prepared database, or None."""
        folder = self.root / "data/prepared" / name
        self.asked.add(f"data/prepared/{name}")
        return load(folder) if (folder / "info.json").is_file() else None  # info.json is written last

    def record(self, database: str, method: str, shots: int | str) -> Record | None:
        """A run record of this protocol, or None where it is missing or damaged."""
        place = f"results/runs/{self.params.protocol}/{database}/{method}/{shots}"
        self.asked.add(f"{place}/run.json")
        try:
            return read_record(self.root / place)
        except CorruptRecord:
            return None

    def opinion(self, database: str) -> str:
        """What the opinions of a database are to be called on axes and in tables."""
        info = self._json(f"data/prepared/{database}/info.json")
        return "simulated opinion" if (info or {}).get("kind") == "simulated" else "opinion score"

    def missing(self, cells: Iterable[RunKey] | None = None) -> list[RunKey]:
        """(protocol, database, method, shots) of the runs that nobody has scored: of those given, or of all grids."""
        scores = self.table("scores.csv")
        done = set(zip(*(scores[c] for c in ("protocol", "database", "method", "shots")), strict=True))
        return [cell for cell in (self.params.run.run_keys() if cells is None else cells) if cell not in done]

    def cells(self, shots: Sequence[int | str], kind: str = "few_shot") -> list[RunKey]:
        """The cells of a grid under this protocol, at these numbers of labels."""
        grid = self.params.run.grids()[kind]
        return [RunKey(self.params.protocol, d, m, k) for d in grid.databases for m in grid.methods for k in shots]

    def table(self, name: str) -> pd.DataFrame:
        """A csv of the stage collect, all protocols, or its columns alone; shots are numbers, or texts such as 20pct."""
        path = self.folder / name
        self.asked.add(f"results/{name}")
        if name not in self._read:
            self._read[name] = self._checked(path) if path.is_file() else pd.DataFrame(columns=COLUMNS[name])
        return self._read[name]

    @staticmethod
    def _checked(path: Path) -> pd.DataFrame:
        try:
            table = pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str) | {"shots": object})
        except ValueError as error:
            reason = " ".join(str(error).split())[:200]
            raise UserError(f"{path} is damaged ({reason}); make it again with: dvc repro -f collect") from None
        if list(table.columns) != COLUMNS[path.name]:
            raise UserError(f"{path} was written by another version; make it again with: dvc repro -f collect")
        if "shots" in table:
            table["shots"] = [int(k) if str(k).isdigit() else k for k in table["shots"]]  # 50, or 20pct
        return table

    def _json(self, place: str) -> Any:
        path = self.root / place
        self.asked.add(place.removesuffix("/info.json"))
        try:
            return read_json(path)
        except FileNotFoundError:
            return None
        except ValueError:
            raise UserError(f"{path} is damaged; delete it and run: dvc repro") from None
