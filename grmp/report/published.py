"""Published numbers, each with its source. A blank value means: not published where we could read it."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from grmp.errors import UserError
from grmp.params import ACROSS

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
    tables = [_read(Path(__file__).parent / "published.csv")]
    if (own := world / "published.csv").is_file():
        tables.append(_read(own))
    return pd.concat(tables, ignore_index=True)


def _read(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError) as error:
        raise UserError(f"{path} cannot be read: {' '.join(str(error).split())}") from None
    if list(table.columns) != COLUMNS:
        raise UserError(f"{path} needs the columns {', '.join(COLUMNS)}; it has {', '.join(table.columns)}")
    for line, row in enumerate(table.itertuples(), start=2):
        if not str(row.source).strip():
            raise UserError(f"{path}, line {line}: a published number needs its source")
        try:
            float(row.value or "nan")
        except ValueError:
            raise UserError(f"{path}, line {line}: '{row.value}' is no number; leave it blank if unknown") from None
    return table.assign(value=table["value"].replace("", "nan").astype(float))


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
