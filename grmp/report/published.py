"""Published numbers and claims, each with its source: the package's own csv files, followed by a user's rows.

A user adds rows in a file of the same name and columns next to params.yaml (docs/notebooks.md describes both files). A blank
value means that the number was not published where we could read it.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from grmp.errors import UserError, reading
from grmp.params import ACROSS
from grmp.report.results import Results

COLUMNS = ["table", "dataset", "setting", "method", "metric", "value", "source", "note"]
# of params.yaml -> tables of published.csv whose numbers stand below ours
GRIDS = {"few_shot": ["few_shot"], "full": ["full", "data_efficiency"], "cross": ["cross_dataset"], "ablation": []}
SETTINGS = {"80/20": "100pct", "full": "100pct"}  # how papers call our numbers of labels; "20%" is "20pct"
BLANK = "not published where we could read it"
PAPER = "GRMP-IQA"  # the paper's own name in published.csv


def published(results: Results) -> pd.DataFrame:
    """All published numbers, ``value`` as float.

    Raises UserError if the user's file has other columns, a value that is not a number, or a row without a source.
    """

    def problem(row: Any) -> str:
        known = not row.value or is_number(row.value)
        return "" if known else f"'{row.value}' is not a number; leave it blank if unknown"

    table = sourced(results, "published.csv", COLUMNS, problem)
    return table.assign(value=table["value"].replace("", "nan").astype(float))


def published_scores(results: Results, kind: str, database: str, shots: Sequence[int | str]) -> pd.DataFrame:
    """Published rows comparable to ours: ``method, shots, metric, value, source`` in the order of the file.

    ``kind`` is a grid of params.yaml (few_shot, full, cross, ablation); ``database`` may be koniq10k_to_livec.
    """
    table = published(results)
    rows = table[table["table"].isin(GRIDS[kind]) & (table["dataset"].str.replace("->", ACROSS) == database)]
    settings = [SETTINGS.get(s, s.replace("%", "pct")) for s in rows["setting"]]
    known = {str(k): k for k in shots}
    rows = rows.assign(shots=pd.Series([known.get(s) for s in settings], index=rows.index, dtype=object))
    return rows[rows["shots"].notna()][["method", "shots", "metric", "value", "source"]]


def sourced(results: Results, name: str, columns: list[str], problem: Callable[[Any], str]) -> pd.DataFrame:
    """The rows of the package's file ``name`` and of the user's, every value as text.

    ``problem`` maps a row (a named tuple) to what is wrong with it, or to an empty string. Raises UserError if a file has
    other columns, or a row has no source or a problem; the message names the line.
    """
    tables = []
    for path in (path for path in (Path(__file__).parent / name, results.file(name)) if path.is_file()):
        needs = f"it needs the columns {', '.join(columns)}"
        with reading(path, needs):
            table = pd.read_csv(path, dtype=str, keep_default_na=False)
        if list(table.columns) != columns:
            raise UserError(f"{path} has the columns {', '.join(table.columns)}; {needs}")
        for line, row in enumerate(table.itertuples(), start=2):
            if found := problem(row) if str(row.source).strip() else "a row needs its source":
                raise UserError(f"{path}, line {line}: {found}")
        tables.append(table)
    return pd.concat(tables, ignore_index=True)


def is_number(text: str) -> bool:
    """Whether it is a finite number."""
    return bool(np.isfinite(pd.to_numeric(text, errors="coerce")))
