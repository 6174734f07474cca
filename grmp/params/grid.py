"""What is run: grids of (protocol, database, method, shots)."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from grmp.errors import UserError


class Group(BaseModel):
    """Base of every group of settings: strict types, no unknown key, immutable."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


Shots = Annotated[int, Field(gt=0)] | Annotated[str, Field(pattern=r"^([1-9]\d?|100)pct$")]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]  # of a folder of results
ACROSS = "_to_"  # koniq10k_to_livec: trained on the one, tested on the other


def shots(text: str) -> int | str:
    """Parse a number of labels, or a share such as 20pct. Raises UserError if it is neither."""
    try:
        value: int | str = int(text) if text.isdigit() else text
        return TypeAdapter[int | str](Shots).validate_python(value)
    except ValidationError:
        raise UserError(f"'{text}' is not a number of labelled images; write for example 50, or 20pct") from None


class RunKey(NamedTuple):
    """Which run: one combination of a grid, and the first four columns of every table of results."""

    protocol: str
    database: str  # or "a_to_b": trained on the training sides of a, tested on all of b
    method: str
    shots: int | str  # K, or a share of the training side such as "20pct"

    @property
    def source(self) -> str:
        """The database whose labels are read."""
        return self.database.split(ACROSS)[0]

    @property
    def target(self) -> str:
        """The database whose images are scored."""
        return self.database.split(ACROSS)[-1]

    @property
    def command(self) -> str:
        """The command that computes this run alone."""
        return f"grmp run {self.database} {self.method} {self.shots} --protocol {self.protocol}"

    def folder(self, root: Path) -> Path:
        """Where its record is written, below the pipeline folder ``root``."""
        return root / "results/runs" / self.protocol / self.database / self.method / str(self.shots)

    def __str__(self) -> str:
        return "-".join(map(str, self))


class Grid(Group):
    """Every combination of these is one run record; an empty list makes an empty grid."""

    protocols: list[str]
    databases: list[str]
    methods: list[str]
    shots: list[Shots]

    def run_keys(self) -> Iterator[RunKey]:
        """The combinations, in the order of the lists."""
        return map(RunKey._make, itertools.product(self.protocols, self.databases, self.methods, self.shots))


class Run(Group):
    """What is run: four grids, which may have runs in common."""

    few_shot: Grid
    ablation: Grid
    full: Grid
    cross: Grid

    def grids(self) -> dict[str, Grid]:
        """The grids by name."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def run_keys(self) -> list[RunKey]:
        """All runs of all grids, in order, each once."""
        return list(dict.fromkeys(key for grid in self.grids().values() for key in grid.run_keys()))
