"""Read-only access to the results of a pipeline folder. ``Results.file`` notes every file that is read, for provenance."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from grmp import params as settings
from grmp.data.dataset import Dataset, prepared
from grmp.errors import UserError, reading
from grmp.experiments.record import CorruptRecord, Record, read_record
from grmp.files import read_json
from grmp.params import ACROSS, Grid, Params, RunKey
from grmp.report.collect import COLUMNS, COST

TEXTS = ["protocol", "database", "method", "against", "distortion", "question", "role", "rule"]
TEXTS += ["status", "identity", "record", "reason", "task", "start", "strategy", "learned", "image", "scene"]
NAMES = {  # databases in print
    "live": "LIVE", "csiq": "CSIQ", "tid2013": "TID2013", "kadid10k": "KADID-10k", "koniq10k": "KonIQ-10k",
    "livec": "LIVE Challenge", "spaq": "SPAQ", "flive": "FLIVE", "pipal": "PIPAL", "biq2021": "BIQ2021",
    "sim_pre1": "Simulated, first half", "sim_pre2": "Simulated, second half", "sim_syn1": "Simulated, LIVE-like",
    "sim_wild": "Simulated, in the wild",
}  # fmt: skip
KINDS = {  # distortion types that have code names
    "jp2k": "JPEG 2000", "wn": "white noise", "gblur": "Gaussian blur", "fastfading": "fast fading", "awgn": "white noise",
    "fnoise": "pink noise", "jpeg": "JPEG", "jpeg2000": "JPEG 2000", "jpeg 2000": "JPEG 2000",
    "gaussian blur": "Gaussian blur", "non eccentricity patch": "non-eccentricity patch",
}  # fmt: skip
ORDERS = {0: "Reptile", 1: "First-order MAML", 2: "MAML"}
SIMULATED = "simulated rating"


@dataclass(frozen=True)
class Results:
    """The results in the folder of a params.yaml, under one protocol. What does not exist is None or an empty table."""

    root: Path
    params: Params
    files_read: set[str] = field(default_factory=set)  # relative to ``root``
    _tables: dict[str, pd.DataFrame] = field(default_factory=dict)

    @classmethod
    def open(cls, root: str | Path = ".", protocol: str = "") -> "Results":
        """Read params.yaml in ``root``; the default protocol is the first one that it defines."""
        params = settings.load(Path(root) / "params.yaml")
        return cls(Path(root), params.under(protocol) if protocol else params)

    def under(self, protocol: str) -> "Results":
        """The same folder under another protocol."""
        return replace(self, params=self.params.under(protocol))

    @property
    def grid(self) -> Grid:
        """The few-shot grid."""
        return self.params.run.few_shot

    def file(self, place: str) -> Path:
        """A path below ``root``, noted as read."""
        self.files_read.add(place.removesuffix("/info.json"))  # a database counts as one file
        return self.root / place

    def table(self, name: str) -> pd.DataFrame:
        """A table of the stage ``collect`` for all protocols, empty if it was not run. ``shots`` holds 50 or "20pct"."""
        path = self.file(f"results/{name}")
        if name not in self._tables:
            self._tables[name] = read_table(path) if path.is_file() else pd.DataFrame(columns=COLUMNS[name])
        return self._tables[name]

    def _rows(self, name: str) -> pd.DataFrame:
        """Those of a table under this protocol."""
        return at(self.table(name), protocol=self.params.protocol).reset_index(drop=True)

    scores = property(lambda self: self._rows("scores.csv"), doc="scores.csv, rows of this protocol.")
    summary = property(lambda self: self._rows("summary.csv"), doc="summary.csv, rows of this protocol.")
    pairs = property(lambda self: self._rows("pairs.csv"), doc="pairs.csv, rows of this protocol.")
    distortions = property(lambda self: self._rows("distortions.csv"), doc="distortions.csv, rows of this protocol.")

    @property
    def cost(self) -> pd.DataFrame:
        """cost.json: time, memory and device of every run."""
        return pd.DataFrame(self.json("results/cost.json") or [], columns=[*RunKey._fields, "seconds", *COST])

    def json(self, place: str) -> Any:
        """The content of a JSON file, or None."""
        path = self.file(place)
        with reading(path, "delete it and run: dvc repro"):
            return read_json(path) if path.is_file() else None

    def csv(self, place: str) -> pd.DataFrame:
        """The table of another stage; empty and without columns if it was not run."""
        path = self.file(place)
        return pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str)) if path.is_file() else pd.DataFrame()

    def attribution(self, database: str) -> tuple[pd.DataFrame, dict[str, np.ndarray]]:
        """Scores and embeddings of every test image (empty if not run), and the arrays with the maps of some of them."""
        table = self.csv(f"results/attribution/{database}.csv")
        path = self.file(f"results/attribution/{database}.npz")
        if table.empty or not path.is_file():
            return pd.DataFrame(), {}
        remedy = f"regenerate it with: dvc repro -f attribution@{database}"
        with reading(path, remedy), path.open("rb") as file, np.load(file) as stored:
            arrays = dict(stored)
        return table, arrays

    def dataset(self, name: str) -> Dataset | None:
        """A prepared database, or None."""
        self.file(f"data/prepared/{name}")
        return prepared(self.root, name)

    def record(self, database: str, method: str, shots: int | str) -> Record | None:
        """The record of one run under this protocol; None if it is missing or corrupt."""
        place = RunKey(self.params.protocol, database, method, shots).folder(Path()) / "run.json"
        try:
            return read_record(self.file(place.as_posix()).parent)
        except CorruptRecord:
            return None

    def label(self, method: str) -> str:
        """A method's name in print."""
        return self.params.methods[method].label if method in self.params.methods else method

    def variant_label(self, variant: str) -> str:
        """A pre-training variant's name in print."""
        found = self.params.variants[variant]
        name = ORDERS[found.order] if hasattr(found, "order") else "Ordered distortions"
        return f"{name} ({found.protocol} protocol)"

    def rating(self, database: str, scaled: bool = False) -> str:
        """What the ratings of a database are called on axes and in tables; ``scaled``: as quality, higher is better."""
        info = self.json(f"data/prepared/{database}/info.json") or {}
        if info.get("kind") == "simulated":
            return SIMULATED
        return "MOS" if info.get("higher_better", True) else "reversed DMOS" if scaled else "DMOS"

    def run_keys(self, shots: Sequence[int | str], kind: str = "few_shot") -> list[RunKey]:
        """The runs of a grid under this protocol, for these numbers of labels."""
        grid = self.params.run.grids()[kind]
        return [RunKey(self.params.protocol, d, m, k) for d in grid.databases for m in grid.methods for k in shots]

    def missing(self, keys: Iterable[RunKey]) -> list[RunKey]:
        """Those of ``keys`` that have no scores."""
        done = set(self.table("scores.csv")[list(RunKey._fields)].astype(str).itertuples(index=False, name=None))
        return [k for k in keys if tuple(map(str, k)) not in done and self.params.methods[k.method].computed]


def title(database: str) -> str:
    """A database's name in print; ``koniq10k_to_livec`` is ``KonIQ-10k → LIVE Challenge``."""
    return " → ".join(NAMES.get(name, name) for name in database.split(ACROSS))


def kind_title(kind: str) -> str:
    """A distortion type in print, without the number by which it is sorted."""
    words = kind.lstrip("0123456789 ").replace("_", " ")
    return KINDS.get(words, words)


def at(table: pd.DataFrame, **where: Any) -> pd.DataFrame:
    """The rows in which every named column has that value, compared as text: shots may be 50 or "20pct"."""
    for column, value in where.items():
        table = table[table[column].astype(str) == str(value)]
    return table


def triples(table: pd.DataFrame, name: str) -> list[tuple[float, float, float]]:
    """Value, low and high of each row: columns ``name``, ``name_low``, ``name_high``."""
    return list(table[[name, f"{name}_low", f"{name}_high"]].itertuples(index=False, name=None))


def read_table(path: Path) -> pd.DataFrame:
    """A table of ``collect``; UserError if it is corrupt or of another version."""
    remedy = "regenerate it with: dvc repro -f collect"
    with reading(path, remedy):
        table = pd.read_csv(path, dtype=dict.fromkeys(TEXTS, str) | {"shots": object})
    if list(table.columns) != COLUMNS[path.name]:
        raise UserError(f"{path} was written by another version; {remedy}")
    if "shots" in table:
        table["shots"] = [int(k) if str(k).isdigit() else k for k in table["shots"]]
    return table
