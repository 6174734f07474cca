"""Tables as people save them: any encoding and separator of a spreadsheet, decimal commas, stray separators and blank rows.

A cell is never guessed into another column: what is ambiguous is rejected, with its line.
"""

import codecs
import contextlib
import csv
import io
import math
import re
import sys
import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from grmp.errors import UserError

SEPARATORS = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar"}
BINARY = {b"PK\x03\x04": "an Excel or OpenDocument file", b"\xd0\xcf\x11\xe0": "an Excel file", b"\x89PNG": "an image"}
NEVER_EMPTY = ("mos", "score", "split", "repeat")
NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d{1,3})?", re.ASCII | re.IGNORECASE)


def read(path: Path, needed: Sequence[str], instead: Sequence[str] = ()) -> pd.DataFrame:
    """The rows of a table as text, columns in lower case; the index is the line of the file.

    The separator is the one that separates the columns ``needed``, or those that may be there ``instead``. Raises UserError if
    it is not a text file, a column is missing, or a row does not fit the header.
    """
    lines, start, first = io.StringIO(_text(path, needed), newline=""), 0, "\n"
    while re.fullmatch(r'(?i)("?sep=.)?[\s,;|"]*', first) and first:  # blank, or Excel's own first line
        start, first = start + 1, lines.readline()
    while first.count('"') % 2 and (more := lines.readline()):  # a name of several lines
        start, first = start + 1, first + more
    read_by = {m: csv.reader(io.StringIO(first, ""), delimiter=m, skipinitialspace=True) for m in SEPARATORS}
    heads = {mark: [cell.strip().lower() for cell in next(rows, [])] for mark, rows in read_by.items()}
    if instead and any(set(instead) <= set(head) for head in heads.values()):
        needed = instead
    mark = max(heads, key=lambda m: (sum(name in heads[m] for name in needed), len(heads[m])))
    columns = _trimmed(heads[mark])
    for name in needed:
        if columns.count(name) != 1:
            what = f"has the column '{name}' twice" if name in columns else f"has no column '{name}'"
            which = f"{' and '.join(needed[:2])}{' (and rater)' if 'mos' in needed else ''}"
            remedy = "" if name in columns else f"; name the columns {which}"
            raise UserError(f"{path} {what}; its columns are {', '.join(columns)[:200]}{remedy}")
    reader = csv.reader(lines, delimiter=mark, skipinitialspace=True, strict=True)
    rows, line, separator = dict[int, list[str]](), start + 1, SEPARATORS[mark]
    try:
        for cells in reader:
            row, where = _trimmed([cell.strip() for cell in cells]), f"{path}, line {line}"
            if len(row) > len(columns):
                remedy = (
                    f"put names and numbers that contain a {separator} in quotation marks, or separate by semicolons"
                )
                raise UserError(f"{where}: has {len(row)} cells, the header {len(columns)}; {remedy}")
            others = [m for m in reversed(SEPARATORS) if len(row) == 1 < len(columns) and m in row[0]]
            if others and any(NUMBER.fullmatch(cell.strip()) for cell in row[0].split(others[0])[1:]):
                raise UserError(f"{where}: '{row[0]}' has a {SEPARATORS[others[0]]} where the header has a {separator}")
            if row:
                rows[line] = row + [""] * (len(columns) - len(row))
            line = start + reader.line_num + 1
    except csv.Error as error:
        raise UserError(f"{path}, line {line}: {error}; is a quotation mark missing?") from None
    table = pd.DataFrame(list(rows.values()), columns=columns, index=list(rows), dtype=str)
    table.attrs["separator"] = mark
    return table


def numbers(path: Path, table: pd.DataFrame, column: str) -> pd.Series:
    """A column of ``read`` as numbers, with a decimal point or comma.

    Raises UserError if a cell is not a finite number, or one of its marks may not be the decimal one.
    """
    values = table[column]
    marked = values.str.contains("[.,]")
    mixed = values.str.contains(",") & values.str.contains(".", regex=False).any()
    thousands = (
        marked & values[marked].str.fullmatch(r"[1-9]\d{0,2}[.,]\d{3}").all() & values.str.fullmatch(r"\d{3}").any()
    )
    finite = values.map(lambda v: bool(NUMBER.fullmatch(v)) and math.isfinite(float(v.replace(",", ".")))).astype(bool)
    refuse(path, ~finite, f"'{column}' is not a number", values)
    refuse(path, mixed, "has a comma where others have a point", values)
    refuse(path, thousands, "may have a separator of thousands, remove it", values)
    after = table.columns.get_loc(column) + 1
    other = after < len(table.columns) and table.columns[after] not in NEVER_EMPTY
    full = table.iloc[:, -1].ne("").all()  # a comma more would not have fitted into rows whose last column is filled
    beside = table.iloc[:, after][table.iloc[:, after].str.isdigit()] if other else values[:0]
    comma = table.attrs.get("separator", ",") == ","  # else 3,5 cannot have become two columns
    if comma and len(beside) and values[beside.index].str.isdigit().all():
        line = beside.index[0]
        found = f"{path}, line {line}: '{values[line]},{beside[line]}'"
        if full and after < len(table.columns) - 1:
            remedy = f"quote all of '{column}' if it is one number"
            print(f"{found} is read as two columns, '{column}' and '{table.columns[after]}'; {remedy}", file=sys.stderr)
        else:
            remedy = f"put {column} in the last column, or write ratings with a decimal point"
            raise UserError(f"{found} may be two columns or a decimal comma; {remedy}")
    if len(values) and values.str.fullmatch(r"[1-9]\d{0,2},\d{3}").all():
        first, remedy = values.iloc[0], "remove the commas if they separate thousands"
        found = f"'{first}' is read as {first.replace(',', '.')}, with a decimal comma, like all of '{column}'"
        print(f"{path}: {found}; {remedy}", file=sys.stderr)
    return values.str.replace(",", ".").astype(float)


def refuse(path: Path, wrong: pd.Series, reason: str, values: pd.Series | None = None) -> None:
    """Raise UserError with the first line that is ``wrong``, and its value, if there is one."""
    if wrong.any():
        line = wrong.idxmax()
        raise UserError(f"{path}, line {line}: {reason}" + ("" if values is None else f" ('{values[line]}')"))


def plain(name: str) -> str:
    """A name without what differs between systems: Unicode form, direction of slashes, spaces around, letter case."""
    return unicodedata.normalize("NFC", name).replace("\\", "/").strip().casefold()


def _text(path: Path, needed: Sequence[str]) -> str:
    """A text file in UTF-8, UTF-16, or Windows-1252 if it is none of them."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{path} not found; give a CSV file with the columns {', '.join(needed)}") from None
    except OSError as error:
        raise UserError(f"{path} cannot be read as CSV: {error.strerror}") from None
    what = next((what for begin, what in BINARY.items() if data.startswith(begin)), "not text in a known encoding")
    wide = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    half = data[:100].count(0) > len(data[:100]) / 3  # of the bytes, in UTF-16
    bare = ("utf-16-be" if data.startswith(b"\0") else "utf-16-le",) if half else ("utf-8", "cp1252")
    for encoding in ("utf-16",) if wide else bare:
        with contextlib.suppress(ValueError):
            text = data.decode(encoding)
            if "\0" not in text and what.startswith("not"):
                if encoding == "cp1252":
                    note = f"{path} is not UTF-8 and is read as Windows-1252; save it as UTF-8 if names are not found"
                    print(note, file=sys.stderr)
                return text.replace("\ufeff", "")  # marks of UTF-8, also of files that were joined
    raise UserError(f"{path} cannot be read as CSV: it is {what}; save it as CSV in UTF-8")


def _trimmed(cells: list[str]) -> list[str]:
    """Without the empty cells at the end."""
    while cells and not cells[-1]:
        cells.pop()
    return cells
