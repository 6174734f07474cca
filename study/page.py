"""Put the study's tables into its page: ``python study/page.py`` fills the marked places of docs/study.md from study/results.

A place is ``<!-- NAME -->`` up to ``<!-- end -->``; NAME is one of TABLES. The words around them are written by hand.
"""

import re
import sys
from collections.abc import Callable
from pathlib import Path

from grmp.files import write_text
from grmp.report import comparisons, few_shot, selection
from grmp.report.results import Results
from grmp.report.table import Table

ROOT = Path(__file__).parents[1]
PLACE = re.compile(r"(<!-- ([\w ]+) -->\n).*?(<!-- end -->)", re.DOTALL)


def _pairs(results: Results) -> Table:
    return comparisons.answer_table(results, comparisons.answers(results))


TABLES: dict[str, Callable[[Results], Table | None]] = {
    "scores sound": lambda w: few_shot.score_table(w.under("sound"), "few_shot", w.grid.shots, ("srcc",)),
    "scores published": lambda w: few_shot.score_table(w.under("published"), "few_shot", w.grid.shots, ("srcc",)),
    "pairs sound": lambda w: _pairs(w.under("sound")),
    "pairs published": lambda w: _pairs(w.under("published")),
    "protocols": lambda w: selection.protocol_table(w, "published", "sound"),
    "reading": selection.reading_table,
}


def fill(text: str, results: Results) -> str:
    """The page with every marked place filled anew; a table of nothing says so.

    Raises
    ------
    KeyError
        For a place that is none of TABLES.
    """

    def table(match: re.Match[str]) -> str:
        found = TABLES[match[2]](results)
        return f"{match[1]}\n{found.markdown() if found else 'Not run; fill with `make study FROM=...`.'}\n{match[3]}"

    return PLACE.sub(table, text)


def main() -> None:
    """Fill docs/study.md from the study's results (or from the pipeline folder given as argument)."""
    page = ROOT / "docs/study.md"
    write_text(page, fill(page.read_text(), Results.open(sys.argv[1] if len(sys.argv) > 1 else ROOT / "study")))


if __name__ == "__main__":
    main()
