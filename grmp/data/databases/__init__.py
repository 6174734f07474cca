"""The databases: one module each, found by itself. docs/databases.md shows how to add one."""

from functools import cache
from importlib import import_module
from pkgutil import iter_modules

import pandas as pd

from grmp.data.databases._entry import Database
from grmp.errors import UserError


@cache
def known() -> dict[str, Database]:
    """All entries by name: every ``Database`` that a module of this package defines."""
    names = sorted(m.name for m in iter_modules(__path__) if not m.name.startswith("_"))
    values = [v for name in names for v in vars(import_module(f"{__name__}.{name}")).values()]
    return {entry.name: entry for entry in values if isinstance(entry, Database)}


def get(name: str) -> Database:
    """The entry called ``name``. Raises UserError if there is none."""
    if name not in known():
        raise UserError(f"unknown database '{name}'; choose one of: {', '.join(known())}")
    return known()[name]


def excluded(name: str, images: pd.Series) -> list[str]:
    """The images that the publisher of ``name`` does not count as part of the study (departure 14)."""
    pattern = known()[name].exclude if name in known() else ""
    return images[images.str.fullmatch(pattern)].tolist()
