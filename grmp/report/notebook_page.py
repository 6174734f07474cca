"""What a notebook writes on: each figure and table goes to its files and onto the page, with its caption and provenance.

The outputs carry a note to the site under the metadata key ``grmp``: what it is, its name, its caption, the files that were
read for it and the run records behind it.
"""

import base64
import html
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from grmp.report.provenance import provenance
from grmp.report.results import Results
from grmp.report.style import save
from grmp.report.table import Table

RUNS = "results/runs/"
PIXELS_PER_INCH = 110  # on a page; the PNG has more


class NotebookPage:
    """The page of one notebook in one results."""

    def __init__(self, name: str, folder: str | Path = ".", protocol: str = "") -> None:
        """``name`` is the notebook's, ``folder`` that of params.yaml, ``protocol`` one of its protocols (the first one)."""
        self.name = name
        self.results = Results.open(folder, protocol)
        self.line = provenance(self.results, name)
        self.before: list[str] = []  # what was read for the figure or table before

    def figure(self, name: str, figure: Figure | None, caption: str, alt: str, stage: str = "") -> None:
        """Save and show a figure; None is a hole that ``dvc repro <stage>`` fills.

        ``alt`` says in words what a reader who cannot see the figure needs to know.
        """
        if figure is None:
            self.hole(name, caption, stage)
            return
        png = save(figure, self.results.folder / "figures" / self.name / name)
        width, height = (round(side * PIXELS_PER_INCH) for side in figure.get_size_inches())
        note = {"kind": "figure", "name": name, "caption": caption, "alt": alt, "width": width, "height": height}
        display(
            {"image/png": base64.b64encode(png).decode(), "text/plain": alt},
            raw=True,
            metadata={"image/png": {"width": width, "height": height, "alt": alt}, "grmp": note | self._behind()},
        )
        self._below(caption)

    def table(self, name: str, table: Table | None, what: str = "", stage: str = "") -> None:
        """Save and show a table; None is a hole that ``dvc repro <stage>`` fills, or nothing if ``what`` does not name it."""
        if table is None:
            if what:
                self.hole(name, what, stage)
            return
        table.save(self.results.folder / "tables" / self.name / name)
        note = {"kind": "table", "name": name, "caption": table.caption} | self._behind(table.data)
        display({"text/html": table.html(), "text/plain": table.markdown()}, raw=True, metadata={"grmp": note})
        self._below("")

    def hole(self, name: str, what: str, stage: str) -> None:
        """A place for what has not been run, with the command that fills it."""
        command = f"dvc repro {stage}".strip()
        text = f'<p class="hole"><b>Not run yet:</b> {html.escape(what)} Fill it with <code>{html.escape(command)}</code>.</p>'
        note = {"kind": "hole", "name": name, "caption": what, "command": command} | self._behind()
        display({"text/html": text, "text/plain": f"Not run yet: {what} {command}"}, raw=True, metadata={"grmp": note})

    def _behind(self, data: pd.DataFrame | None = None) -> dict[str, Any]:
        """The provenance line, the files read since the last figure or table, and the records.

        The records are those whose cells ``data`` names, else those that were read; none are named where only the tables
        of all records were.
        """
        read = sorted(self.results.asked) or self.before  # a second view of what the first one read
        self.results.asked.clear()
        self.before = read
        read = [place for place in read if (self.results.root / place).exists()]
        records = [place for place in read if place.startswith(RUNS)]
        cells = ["database", "method", "shots"]
        if data is not None and set(cells) <= set(data):
            protocol = data.get("protocol", self.results.params.protocol)
            rows = data.assign(protocol=protocol)[["protocol", *cells]].astype(str).drop_duplicates()
            places = [f"{RUNS}{'/'.join(row)}/run.json" for row in rows.itertuples(index=False)]
            records = [place for place in places if (self.results.root / place).exists()]
        return {"line": self.line, "read": [r for r in read if not r.startswith(RUNS)], "records": records}

    def _below(self, caption: str) -> None:
        text = f"<b>{html.escape(caption)}</b><br>" if caption else ""
        shown = f'<p class="caption">{text}<small>{html.escape(self.line)}</small></p>'
        display({"text/html": shown, "text/plain": f"{caption} {self.line}".strip()}, raw=True)
