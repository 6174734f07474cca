"""Published numbers, each with its source. A blank value means: not published where we could read it."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from grmp.params import ACROSS
from grmp.report.sourced import is_number, sourced

COLUMNS = ["table", "dataset", "setting", "method", "metric", "value", "source", "note"]
KINDS = {"few_shot": ["few_shot"], "full": ["full", "data_efficiency"], "cross": ["cross_dataset"]}
BLANK = "not published where we could read it"


def published(world: Path) -> pd.DataFrame:
    """The package's published.csv and, below it, the user's own rows from ``published.csv`` beside params.yaml.

    Raises
    ------
    UserError
        If the user's file has other columns, a value that is no number, or a row without a source.
    """
    table = sourced(world, "published.csv", COLUMNS, _trouble)
    return table.assign(value=table["value"].replace("", "nan").astype(float))


def _trouble(row: Any) -> str:
    return "" if is_number(row.value or "nan") else f"'{row.value}' is no number; leave it blank if unknown"


SETTINGS = {"80/20": "100pct", "full": "100pct"}  # how papers call our numbers of labels; "20%" is "20pct"


def beside(table: pd.DataFrame, kind: str, database: str, shots: Sequence[int | str]) -> pd.DataFrame:
    """Published rows that stand beside ours: ``method, shots, metric, value, source`` in the file's order.

    ``kind`` is the grid of params.yaml (few_shot, full, cross), ``database`` may be koniq10k_to_livec.
    """
    rows = table[table["table"].isin(KINDS[kind]) & (table["dataset"].str.replace("->", ACROSS) == database)]
    ours = [SETTINGS.get(s, s.replace("%", "pct")) for s in rows["setting"]]
    known = {str(k): k for k in shots}
    rows = rows.assign(shots=pd.Series([known.get(s) for s in ours], index=rows.index, dtype=object))
    return rows[rows["shots"].notna()][["method", "shots", "metric", "value", "source"]]
