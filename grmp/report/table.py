"""A table and its three files: csv with the plain numbers, md and tex as the paper would print it; and html for a page."""

import html
import re
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from grmp.files import write_text
from grmp.params import ACROSS

BOLD = re.compile(r"\*\*(.+?)\*\*")
CODE = re.compile(r"`(.+?)`")
_TEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "–": "--",
    "−": r"$-$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
}


@dataclass(frozen=True)
class Table:
    """``data`` holds numbers (csv), ``shown`` the same as text. Text may hold ``**bold**`` and `` `code` `` marks."""

    data: pd.DataFrame
    shown: pd.DataFrame
    caption: str
    note: str = ""

    def csv(self) -> str:
        """The numbers, six decimals."""
        return self.data.to_csv(index=False, float_format="%.6f", lineterminator="\n")

    def markdown(self) -> str:
        """A pipe table with its caption above and its note below."""
        safe = self.shown.astype(str).map(lambda s: s.replace("|", "\\|").replace("\n", " "))
        body = safe.to_markdown(index=False, disable_numparse=True, colalign=self._align())
        return "\n\n".join(part for part in (f"**{self.caption}**", body, self.note) if part) + "\n"

    def tex(self) -> str:
        """A booktabs table; needs ``\\usepackage{booktabs}`` alone."""
        columns = "".join("l" if a == "left" else "r" for a in self._align())
        rows = [[_tex(str(v)) for v in row] for row in [list(self.shown.columns), *self.shown.to_numpy().tolist()]]
        head, *body = (" & ".join(row) + r" \\" for row in rows)
        note = [r"\par\smallskip\footnotesize " + _tex(self.note)] if self.note else []
        return "\n".join(
            [
                r"\begin{table}",
                r"\centering\footnotesize",
                rf"\caption{{{_tex(self.caption)}}}",
                rf"\begin{{tabular}}{{@{{}}{columns}@{{}}}}",
                r"\toprule",
                head,
                r"\midrule",
                *body,
                r"\bottomrule",
                r"\end{tabular}",
                *note,
                r"\end{table}",
                "",
            ]
        )

    def html(self) -> str:
        """A table element in a box that scrolls by itself on a narrow screen."""
        align = [f' class="{a}"' for a in self._align()]
        head = "".join(
            f"<th{a} scope='col'>{_html(str(c))}</th>" for a, c in zip(align, self.shown.columns, strict=True)
        )
        rows = "\n".join(
            "<tr>" + "".join(f"<td{a}>{_html(str(v))}</td>" for a, v in zip(align, row, strict=True)) + "</tr>"
            for row in self.shown.to_numpy().tolist()
        )
        note = f'<p class="note">{_html(self.note)}</p>' if self.note else ""
        return (
            f'<div class="table"><table><caption>{_html(self.caption)}</caption>\n'
            f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>{note}"
        )

    def _align(self) -> list[str]:
        """Numbers to the right: columns whose cells all begin with a figure, but for those that say nothing."""
        found = []
        for _, column in self.shown.astype(str).items():
            cells = [c for c in column if c not in {"", "–", "n.p."}]
            found.append("right" if cells and all(re.match(r"[*+−]*\d", c) for c in cells) else "left")
        return found

    def save(self, base: Path) -> None:
        """Write ``base``.csv, .md and .tex."""
        for kind, text in (("csv", self.csv()), ("md", self.markdown()), ("tex", self.tex())):
            write_text(base.with_name(f"{base.name}.{kind}"), text)


def number(value: float, digits: int = 3) -> str:
    """A number with a real minus sign; a dash where there is none."""
    return "–" if pd.isna(value) else f"{value:.{digits}f}".replace("-", "−")


def amount(shots: int | str) -> str:
    """A number of labels, or a share of the training side: ``50``, ``20 %``."""
    return str(shots).replace("pct", " %")


def title(database: str) -> str:
    """A database's name on a page; koniq10k_to_livec is ``koniq10k → livec``."""
    return database.replace(ACROSS, " → ")


def with_interval(value: float, low: float, high: float, digits: int = 3) -> str:
    """``0.712 [0.655, 0.761]``."""
    return number(value, digits) + ("" if pd.isna(low) else f" [{number(low, digits)}, {number(high, digits)}]")


def merged(column: pd.Series) -> list[str]:
    """A column whose repeated values are left blank, as print has it."""
    values = column.astype(str).tolist()
    return [v if i == 0 or v != values[i - 1] else "" for i, v in enumerate(values)]


def _html(text: str) -> str:
    return CODE.sub(r"<code>\1</code>", BOLD.sub(r"<b>\1</b>", html.escape(text)))


def _tex(text: str) -> str:
    escaped = "".join(_TEX.get(c, c) for c in text)
    return CODE.sub(r"\\texttt{\1}", BOLD.sub(r"\\textbf{\1}", escaped))
