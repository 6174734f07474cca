"""What a notebook writes through: each figure and table is saved, and shown with its caption and provenance.

An output carries a note for the site under the metadata key ``grmp``: kind, name, caption, files read and run records used.
"""

import base64
import html
import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
from IPython.display import display
from matplotlib.figure import Figure

from grmp.errors import UserError
from grmp.files import sha256, sha256_of
from grmp.report.plotting import save
from grmp.report.results import Results
from grmp.report.table import Table

PIXELS_PER_INCH = 110  # of a figure on a page; the PNG has more
PACKAGES = ("grmp", "numpy", "scipy", "pandas", "matplotlib")
BY_HAND = "results/by_hand"  # outputs of notebooks that `grmp notebooks` did not execute with the default parameters
RUNS = "results/runs/"
FOR_SITE = "GRMP_NOTEBOOK_FOR_SITE"  # environment variable: the notebook that `grmp notebooks` executes for the site


def pipeline_folder(root: str | Path) -> Path:
    """``root`` if it has a params.yaml; from notebooks/, the first of ``..`` and ``../demo`` with results.

    Raises UserError if there is none.
    """
    above = Path(root).resolve().parent
    places = [Path(root)] if (Path(root) / "params.yaml").is_file() else [above, above / "demo"]
    found = [place for place in places if (place / "params.yaml").is_file()]
    if not found:
        raise UserError(f"{root} has no params.yaml; set the parameter root to a pipeline folder, for example ../demo")
    return next((place for place in found if (place / "results/scores.csv").is_file()), found[0])


class NotebookPage:
    """Where a notebook puts its figures and tables."""

    def __init__(self, name: str, root: str | Path = ".", protocol: str = "") -> None:
        """``name`` is the notebook's, ``root`` a pipeline folder, ``protocol`` one of its protocols [default: the first]."""
        self.name = name
        self.results = Results.open(pipeline_folder(root), protocol)
        self.line = provenance(self.results, name)
        for_site = os.environ.get(FOR_SITE) == name
        places = (
            f"results/{kind}/{name}" if for_site else f"{BY_HAND}/{name}/{kind}" for kind in ("figures", "tables")
        )
        self.figures, self.tables = (self.results.root / place for place in places)

    def figure(self, name: str, figure: Figure | None, caption: str, alt: str, stage: str = "") -> None:
        """Save and show a figure; for None, show that ``dvc repro <stage>`` was not run, or without a stage that none makes it.

        ``alt`` describes the figure to readers who cannot see it.
        """
        if figure is None:
            self.not_run(name, caption, stage)
            return
        png = base64.b64encode(save(figure, self.figures / name)).decode()
        width, height = (round(side * PIXELS_PER_INCH) for side in figure.get_size_inches())
        image = {"width": width, "height": height, "alt": alt}
        note = {"kind": "figure", "name": name, "caption": caption} | image | self._sources()
        display({"image/png": png, "text/plain": alt}, raw=True, metadata={"image/png": image, "grmp": note})
        self._below(caption)

    def table(self, name: str, table: Table | None, what: str = "", stage: str = "") -> None:
        """Save and show a table; for None, show that ``what`` was not run, or nothing if it is empty."""
        if table is None:
            if what:
                self.not_run(name, what, stage)
            self.results.files_read.clear()
            return
        table.save(self.tables / name, f"{self.name}-{name}")
        note = {"kind": "table", "name": name, "caption": table.caption} | self._sources(table.data)
        display({"text/markdown": table.markdown(), "text/plain": table.caption}, raw=True, metadata={"grmp": note})
        self._below("")

    def not_run(self, name: str, what: str, stage: str) -> None:
        """Show what was not run, and the command that runs it; without a stage, that params.yaml does not ask for it."""
        command, head = (f"dvc repro {stage}", "Not run yet") if stage else ("", "Not asked for in params.yaml")
        how = f" Run <code>{html.escape(command)}</code>." if command else ""
        text = f'<p class="hole"><b>{head}:</b> {html.escape(what)}{how}</p>'
        note = {"kind": "hole", "name": name, "caption": what, "command": command} | self._sources()
        plain = f"{head}: {what} {command}".strip()
        display({"text/html": text, "text/plain": plain}, raw=True, metadata={"grmp": note})

    def _sources(self, data: pd.DataFrame | None = None) -> dict[str, Any]:
        """The provenance line, the files read since the last output, and the run records.

        The records are those of the rows of ``data`` if it names runs, else those that were read.
        """
        root = self.results.root
        read = [place for place in sorted(self.results.files_read) if (root / place).exists()]
        self.results.files_read.clear()
        records = [place for place in read if place.startswith(RUNS)]
        cells = ["database", "method", "shots"]
        if data is not None and set(cells) <= set(data):
            both = pd.concat([data, data.assign(method=data["against"])]) if "against" in data else data
            # a table of several protocols names them in its rows, or has a column for each
            under = [name for name in self.results.params.protocols if name in both] or [self.results.params.protocol]
            each = [both] if "protocol" in both else [both.assign(protocol=name) for name in under]
            rows = pd.concat(each)[["protocol", *cells]].astype(str).drop_duplicates()
            places = [f"{RUNS}{'/'.join(row)}/run.json" for row in rows.itertuples(index=False)]
            records = [place for place in places if (root / place).exists()]
        return {"line": self.line, "read": [r for r in read if not r.startswith(RUNS)], "records": records}

    def _below(self, caption: str) -> None:
        text = f"<b>{html.escape(caption)}</b><br>" if caption else ""
        shown = f'<p class="caption">{text}<small>{html.escape(self.line)}</small></p>'
        display({"text/html": shown, "text/plain": f"{caption} {self.line}".strip()}, raw=True)


def provenance(results: Results, notebook: str) -> str:
    """Settings, scores, code and versions in one line; equal for equal runs. Hashes are the first digits of SHA-256."""
    scores = results.root / "results/scores.csv"
    parts = [
        f"notebook {notebook}",
        f"settings {sha256_of(results.params.model_dump())[:12]}",
        f"scores {sha256(scores)[:12]}" if scores.is_file() else "no scores yet",
        f"code {commit(results.root / results.params.paths.code)}",
        f"Python {platform.python_version()}, " + ", ".join(f"{name} {version(name)}" for name in PACKAGES),
    ]
    return " · ".join(parts)


def commit(code: Path) -> str:
    """The last commit that changed the package or the notebooks, "+" if they differ from it, or "not in git"."""

    def git(*arguments: str) -> str:
        command = ["git", *arguments, "--", "grmp", "notebooks"]
        return subprocess.run(command, cwd=code, check=True, capture_output=True, text=True, timeout=20).stdout.strip()

    try:
        return git("log", "-1", "--format=%h", "--abbrev=10") + ("+" if git("status", "--porcelain") else "")
    except (OSError, subprocess.SubprocessError):
        return "not in git"
