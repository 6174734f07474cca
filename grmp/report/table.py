"""Tables as csv, Markdown and LaTeX, the texts of their cells, and the sentences of the notes below them."""

import re
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from grmp.files import write_text
from grmp.params import RunKey
from grmp.report.results import Results, at, kind_title, title, triples

BOLD, CODE, INTERVAL = re.compile(r"\*\*(.+?)\*\*"), re.compile(r"`(.+?)`"), re.compile(r" (\[[^\]]*\])")
ALONE = re.compile(r"\[[^\]]*\]")
MARKUP = re.compile(r"[|{\\]|<(?=[A-Za-z/!?])|\](?=\()")  # of Markdown, beside the two above
_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "–": "--", "−": r"$-$", "×": r"$\times$", "±": r"$\pm$",
    "→": r"$\rightarrow$", "<": r"\textless{}", ">": r"\textgreater{}", "λ": r"$\lambda$", "°": r"$^\circ$", "≥": r"$\geq$",
}  # fmt: skip
# Points: the width of a character at \footnotesize, of the space between columns, of one column of a paper and of its page.
_CHARACTER, _SPACE, _COLUMN, _PAGE = 4.4, 8.0, 236.0, 490.0
_TEXT = r">{\raggedright\arraybackslash}X"  # a column that shares the remaining width

SPLITS_NOTE = (
    "Intervals are over splits: they reflect variation across random splits of one database, not generalisation to other "
    "images or databases."
)


@dataclass(frozen=True)
class Table:
    """``data`` holds numbers (csv), ``shown`` the same as text, which may hold ``**bold**`` and `` `code` ``."""

    data: pd.DataFrame
    shown: pd.DataFrame
    caption: str
    note: str = ""

    def select(self, columns: Sequence[str] = (), **rows: Sequence[str]) -> "Table":
        """These columns and rows only: ``select(["Method", "SRCC, 50"], Method=["GRMP-IQA"])``.

        With ``rows``, blank cells that repeat the value above are filled in first.
        """
        shown = self.shown.replace("", pd.NA).ffill().fillna("") if rows else self.shown
        for column, values in rows.items():
            shown = shown[shown[column].isin(values)]
        return replace(self, shown=shown[list(columns)] if columns else shown)

    def short(self) -> "Table":
        """The same table without intervals and without columns of intervals alone."""
        shown = self.shown.astype(str)
        alone = shown.map(lambda text: bool(ALONE.fullmatch(text)))
        kept = shown.columns[~(alone.any() & (alone | (shown == "–")).all())]
        note = f"The full table also has intervals; its note: {self.note}" if self.note else ""
        return replace(self, shown=shown[kept].map(lambda text: INTERVAL.sub("", text)), note=note)

    def markdown(self) -> str:
        """A pipe table with its caption above and its note below."""
        cells = self.shown.astype(str).map(_markdown)
        body = cells.to_markdown(index=False, disable_numparse=True, colalign=self._align())
        return "\n\n".join(filter(None, [f"**{_markdown(self.caption)}**", body, _markdown(self.note)])) + "\n"

    def tex(self, label: str) -> str:
        """A LaTeX table that is no wider than a page with a text width of 490 pt (two columns) at 10 pt.

        A table that exceeds a column becomes ``table*``. If it exceeds the page, intervals go below their values, and, where
        that does not suffice, columns of text share the remaining width (tabularx).
        """
        columns = [[str(name), *map(str, cells)] for name, cells in self.shown.items()]  # heads with their cells
        environment = "table*" if _width(columns) > _COLUMN else "table"
        if stacked := _width(columns) > _PAGE:
            columns = [[head, *map(_interval_below, cells)] for head, *cells in columns]
        kinds, tabular, width, size = [side[0] for side in self._align()], "tabular", "", "footnotesize"
        if _width(columns) > _PAGE:
            tabular, width = "tabularx", r"{\linewidth}"
            kinds = [_TEXT if k == "l" and _width([c]) > 60 else k for k, c in zip(kinds, columns, strict=True)]
            narrowest = [c if k != _TEXT else " ".join(c).split() for k, c in zip(kinds, columns, strict=True)]
            size = "scriptsize" if _width(narrowest) > _PAGE else size  # a word would be wider than its column
        texts = [
            [_stack(_tex(text), kind) for text in (_wrapped(head, cells), *cells)]
            for kind, (head, *cells) in zip(kinds, columns, strict=True)
        ]
        head, *body = (" & ".join(row) + r" \\" for row in zip(*texts, strict=True))
        note = rf"\par\smallskip\begin{{minipage}}{{\linewidth}}\footnotesize {_tex(self.note)}\end{{minipage}}"
        parts = [
            r"% Requires \usepackage{booktabs,tabularx} and, for accented characters, UTF-8 input.",
            rf"\begin{{{environment}}}",
            rf"\centering\{size}\setlength{{\tabcolsep}}{{{2.5 if stacked else 4}pt}}",
            rf"\caption{{{_tex(self.caption)}}}",
            rf"\label{{tab:{label}}}",
            rf"\begin{{{tabular}}}{width}{{@{{}}{''.join(kinds)}@{{}}}}",
            r"\toprule",
            head,
            r"\midrule",
            *body,
            r"\bottomrule",
            rf"\end{{{tabular}}}",
            *([note] if self.note else []),
            rf"\end{{{environment}}}",
        ]
        return "\n".join(parts) + "\n"

    def _align(self) -> list[str]:
        """Right for columns whose cells begin with a digit, blank ones aside."""
        columns = ([c for c in column if c not in {"", "–", "n.p."}] for _, column in self.shown.astype(str).items())
        return ["right" if c and all(re.match(r"[*+−<]*\d", text) for text in c) else "left" for c in columns]

    def save(self, base: Path, label: str) -> None:
        """Write ``base``.csv, .md, .tex and, where there are intervals to drop, _short.tex."""
        csv = self.data.to_csv(index=False, float_format="%.6f", lineterminator="\n")
        files = {".csv": csv, ".md": self.markdown(), ".tex": self.tex(label)}
        if not (short := self.short()).shown.equals(self.shown.astype(str)):
            files["_short.tex"] = short.tex(f"{label}_short")
        for ending, text in files.items():
            write_text(base.with_name(base.name + ending), text)


def _width(columns: Sequence[Sequence[str]]) -> float:
    """Estimated width in points."""
    texts = [[_wrapped(head, cells), *cells] for head, *cells in columns]
    longest = [max(len(line) for text in column for line in text.replace("`", "").split("\n")) for column in texts]
    return _CHARACTER * sum(longest) + _SPACE * (len(columns) - 1)


def _wrapped(head: str, cells: Sequence[str]) -> str:
    """A column head in lines about as long as the cells below it."""
    longest = max(len(line) for cell in [*cells, " " * 9] for line in cell.split("\n"))
    return "\n".join(textwrap.wrap(head, longest, break_long_words=False)) or head


def _interval_below(cell: str) -> str:
    """A value above its interval; if the cell is bold, both are."""
    lines = INTERVAL.sub(r"\n\1", cell)
    return lines.replace("\n", "**\n**") if BOLD.fullmatch(cell) else lines


def _stack(text: str, column: str) -> str:
    """Lines on top of each other."""
    if column == _TEXT:
        return text.replace("\n", r"\newline ")
    lines = text.replace("\n", r" \\ {}")  # {}: a bracket that follows is text, not an argument
    return rf"\shortstack[{column}]{{{lines}}}" if "\n" in text else text


def _markdown(text: str) -> str:
    return MARKUP.sub(r"\\\g<0>", text).replace("\n", " ")


def _tex(text: str) -> str:
    escaped = "".join(_TEX.get(c, c) for c in text)
    return CODE.sub(r"\\texttt{\1}", BOLD.sub(r"\\textbf{\1}", escaped))


def number(value: float, digits: int = 3) -> str:
    """A number with a real minus sign; a dash for NaN."""
    return "–" if pd.isna(value) else f"{value:.{digits}f}".replace("-", "−")


def p_value(value: float) -> str:
    """Three decimals; a p-value is never shown as 0."""
    return "<0.001" if value < 0.0005 else number(value)


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """``0.712 [0.655, 0.761]``."""
    return number(value, digits) + ("" if pd.isna(low) else f" [{number(low, digits)}, {number(high, digits)}]")


def signed(value: float, low: float, high: float) -> str:
    """A difference with its sign and interval."""
    text = with_interval(value, low, high, 4)  # effects are small
    return f"+{text}" if pd.notna(value) and value > 0 else text


def amount(shots: int | str) -> str:
    """A number of labels, or a share of the training set: ``50``, ``20 %``."""
    return str(shots).replace("pct", " %")


def in_print(
    results: Results, data: pd.DataFrame, heads: Mapping[str, str], digits: Mapping[str, int] | None = None
) -> pd.DataFrame:
    """The columns ``heads`` of ``data`` as text under their heads; the first one is blank where it repeats.

    Databases, methods and the like are named as in print. A number has three decimals and its interval where ``data`` has
    columns for one (``median_low``, ``median_high``), or ``digits`` of its column.
    """
    names: dict[str, Callable[[Any], str]] = {"database": title, "method": results.label, "shots": amount}
    names |= {"variant": results.variant_label, "distortion": kind_title}
    shown = pd.DataFrame(index=data.index)
    for column, head in heads.items():
        if column in names:
            shown[head] = data[column].map(names[column])
        elif f"{column}_low" in data:
            shown[head] = [with_interval(*three) for three in triples(data, column)]
        else:
            places = (digits or {}).get(column, 3)
            shown[head] = [str(v) if isinstance(v, str | int) else number(v, places) for v in data[column]]
    first = shown.columns[0]
    return shown.assign(**{first: merged(shown[first])})


def merged(column: Iterable[object]) -> list[str]:
    """Texts of a column, blank where they repeat the one above."""
    values = [str(value) for value in column]
    return [v if i == 0 or v != values[i - 1] else "" for i, v in enumerate(values)]


def side(low: float, high: float, status: str = "ok") -> str:
    """Where an interval lies relative to 0, or why there is none."""
    if status != "ok":
        return status
    if pd.isna(low):
        return "too few splits or runs"
    return "above 0" if low > 0 else "below 0" if high < 0 else "includes 0"


def not_run(stages: Sequence[str]) -> str:
    """A sentence with the stages that produce what is missing."""
    return "–: not run; run " + ", ".join(f"`dvc repro {s}`" for s in stages) + "." if stages else ""


def missing_runs(results: Results, keys: Iterable[RunKey]) -> str:
    """What a table of the runs ``keys`` lacks: commands for missing runs, methods in no grid, splits without a score."""
    wanted, asked = dict.fromkeys(keys), set(results.params.run.run_keys())
    missing, partly = results.missing(wanted), at(results.table("summary.csv"), metric="srcc").query("scored < splits")
    lost = [r for r in partly.itertuples() if RunKey(r.protocol, r.database, r.method, r.shots) in wanted]
    several = len({key.protocol for key in wanted}) > 1
    commands = [f"`{key.command}`" for key in missing if key in asked]
    known = {key.method for key in asked}
    unknown = ", ".join(dict.fromkeys(key.method for key in missing if key.method not in known))
    others = dict.fromkeys(
        f"{title(key.database)}, {amount(key.shots)} labels, {key.protocol} protocol"
        for key in missing
        if key.method in known and key not in asked
    )
    how = ", ".join(commands) if len(commands) < 4 else f"`grmp sweep` (one of them: {commands[0]})"
    return join(
        f"–: {len(commands)} runs are missing; run {how}, then `dvc repro`." if commands else "",
        f"–: in no grid: add {unknown} to run.ablation in params.yaml, then run `dvc repro`." if unknown else "",
        f"–: the grids of these methods in params.yaml leave out {'; '.join(others)}." if others else "",
        "; ".join(
            f"{title(r.database)}, {results.label(r.method)}, {amount(r.shots)} labels"
            + (f", {r.protocol} protocol" if several else "")
            + f": {r.status}"
            for r in lost
        ),
    )


def join(*parts: str) -> str:
    """Sentences one after another, each with its full stop."""
    return " ".join(p if p.endswith(".") else f"{p}." for p in parts if p)
