"""Published numbers, each with its source. A blank value means: not published where we could read it."""

from pathlib import Path

import pandas as pd

from grmp.errors import UserError

COLUMNS = ["table", "dataset", "setting", "method", "metric", "value", "source", "note"]
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


def few_shot(table: pd.DataFrame, database: str, shots: list[int]) -> pd.DataFrame:
    """The few-shot rows of one database and these shot counts: ``method, shots, metric, value``, in the file's order."""
    rows = table[(table["table"] == "few_shot") & (table["dataset"] == database)]
    rows = rows[rows["setting"].isin([str(s) for s in shots])]
    return rows.assign(shots=rows["setting"].astype(int))[["method", "shots", "metric", "value"]]
