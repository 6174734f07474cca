"""What is run: grids of (protocol, database, method, shots)."""

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError, model_validator

from grmp.errors import UserError
from grmp.params.base import Group, Positive

Shots = Positive | Annotated[str, Field(pattern=r"^([1-9]\d?|100)pct$")]  # K, or a share of the training side: 20pct
Cell = tuple[str, str, str, int | str]  # protocol, database, method, shots
ACROSS = "_to_"  # koniq10k_to_livec: trained on the one, tested on the other


def shots(text: str) -> int | str:
    """What the command line says: a number, or a share such as 20pct.

    Raises
    ------
    UserError
        If it is neither.
    """
    try:
        value: int | str = int(text) if text.isdigit() else text
        return TypeAdapter[int | str](Shots).validate_python(value)
    except ValidationError:
        raise UserError(f"'{text}' is no number of labelled pictures; write e.g. 50, or 20pct") from None


class Grid(Group):
    """Every combination of these is one run record; an empty list makes an empty grid."""

    protocols: list[str]
    databases: list[str]
    methods: list[str]
    shots: list[Shots]

    def cells(self) -> Iterator[Cell]:
        """The combinations, in the order of the lists."""
        for p in self.protocols:
            for d in self.databases:
                for m in self.methods:
                    for k in self.shots:
                        yield p, d, m, k


def command(cell: Cell) -> str:
    """The command that computes a cell alone."""
    protocol, database, method, labels = cell
    return f"grmp adapt {database} {method} {labels} --protocol {protocol}"


class Run(Group):
    """What is run: four grids without a common cell."""

    few_shot: Grid
    ablation: Grid
    full: Grid
    cross: Grid

    def grids(self) -> dict[str, Grid]:
        """The grids by name."""
        return {name: getattr(self, name) for name in type(self).model_fields}

    def cells(self) -> list[Cell]:
        """All combinations of all grids, in order."""
        return [cell for grid in self.grids().values() for cell in grid.cells()]

    @model_validator(mode="after")
    def _disjoint(self) -> "Run":
        seen: dict[Cell, str] = {}
        for name, grid in self.grids().items():
            for cell in grid.cells():
                if cell in seen:
                    raise ValueError(
                        f"{'-'.join(map(str, cell))} is in the grids {seen[cell]} and {name}; one is enough"
                    )
                seen[cell] = name
        return self
