"""Csv files in which every row has its source: the package's own and, below it, what a user has put beside params.yaml."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd

from grmp.errors import UserError


def sourced(world: Path, name: str, columns: list[str], trouble: Callable[[Any], str]) -> pd.DataFrame:
    """``name`` of the package and of the folder ``world``, every value as text.

    Parameters
    ----------
    trouble
        From a row (a named tuple) to what is wrong with it, or to an empty string.

    Raises
    ------
    UserError
        If a file has other columns, or a row no source or a trouble; the message names the line.
    """
    paths = [Path(__file__).parent / name, world / name]
    return pd.concat([_read(p, columns, trouble) for p in paths if p.is_file()], ignore_index=True)


def _read(path: Path, columns: list[str], trouble: Callable[[Any], str]) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if list(table.columns) != columns:
        raise UserError(f"{path} needs the columns {', '.join(columns)}; it has {', '.join(table.columns)}")
    for line, row in enumerate(table.itertuples(), start=2):
        found = trouble(row) if str(row.source).strip() else "a row needs its source"
        if found:
            raise UserError(f"{path}, line {line}: {found}")
    return table


def is_number(text: str) -> bool:
    """Whether ``float`` reads it."""
    try:
        float(text)
    except ValueError:
        return False
    return True
