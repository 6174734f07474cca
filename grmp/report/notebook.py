"""Execute a percent-format notebook (jupytext, papermill) and store its figures and tables with captions and provenance.

The first cell, tagged ``parameters``, lists typed parameters (``shots: list[int] = []  # what it means``). Values given from
outside are checked against it before anything runs. The notebooks write through ``NotebookPage``; each output carries a
note for the site under the metadata key ``grmp``: kind, name, caption, files read and run records used.
"""

import base64
import html
import os
import platform
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import pandas as pd
import yaml
from IPython.display import display
from matplotlib.figure import Figure
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError
from nbformat import NotebookNode
from papermill.parameterize import parameterize_notebook
from papermill.translators import Parameter, PythonTranslator
from pydantic import ConfigDict, TypeAdapter, ValidationError

from grmp import params as settings
from grmp.device import cpus
from grmp.errors import UserError
from grmp.files import sha256, sha256_of, whole
from grmp.locks import lock
from grmp.pool import work
from grmp.report.plotting import save
from grmp.report.results import Results
from grmp.report.table import Table

SECONDS = 600  # per cell
PIXELS_PER_INCH = 110  # of a figure on a page; the PNG has more
PACKAGES = ("grmp", "numpy", "scipy", "pandas", "matplotlib")
BY_HAND = (
    "results/by_hand"  # outputs of notebooks that were not executed by `grmp notebooks` with the default parameters
)
RUNS = "results/runs/"
_FOR_SITE = "GRMP_NOTEBOOK_FOR_SITE"  # environment variable
_TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list}


# ------------------------------------------------------------------------------------------------------ the page


def pipeline_folder(root: str | Path) -> Path:
    """``root`` if it has a params.yaml; from notebooks/, the first of ``..``, ``../real``, ``../demo`` with results.

    Raises UserError if there is none.
    """
    above = Path(root).resolve().parent
    places = [Path(root)] if (Path(root) / "params.yaml").is_file() else [above, above / "real", above / "demo"]
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
        self.for_site = os.environ.get(_FOR_SITE) == name

    def _base(self, kind: str, name: str) -> Path:
        if self.for_site:
            return self.results.folder / kind / self.name / name
        return self.results.root / BY_HAND / self.name / kind / name

    def figure(self, name: str, figure: Figure | None, caption: str, alt: str, stage: str = "") -> None:
        """Save and show a figure; for None, show that ``dvc repro <stage>`` was not run.

        ``alt`` describes the figure to readers who cannot see it.
        """
        if figure is None:
            self.not_run(name, caption, stage)
            return
        png = save(figure, self._base("figures", name))
        width, height = (round(side * PIXELS_PER_INCH) for side in figure.get_size_inches())
        note = {"kind": "figure", "name": name, "caption": caption, "alt": alt, "width": width, "height": height}
        display(
            {"image/png": base64.b64encode(png).decode(), "text/plain": alt},
            raw=True,
            metadata={"image/png": {"width": width, "height": height, "alt": alt}, "grmp": note | self._sources()},
        )
        self._below(caption)

    def table(self, name: str, table: Table | None, what: str = "", stage: str = "") -> None:
        """Save and show a table; for None, show that ``what`` was not run, or nothing if it is empty."""
        if table is None:
            if what:
                self.not_run(name, what, stage)
            return
        table.save(self._base("tables", name), f"{self.name}-{name}")
        note = {"kind": "table", "name": name, "caption": table.caption} | self._sources(table.data)
        display({"text/html": table.html(), "text/plain": table.markdown()}, raw=True, metadata={"grmp": note})
        self._below("")

    def not_run(self, name: str, what: str, stage: str) -> None:
        """Show what was not run, and the command that runs it."""
        command = f"dvc repro {stage}".strip()
        text = f'<p class="hole"><b>Not run yet:</b> {html.escape(what)} Run <code>{html.escape(command)}</code>.</p>'
        note = {"kind": "hole", "name": name, "caption": what, "command": command} | self._sources()
        display({"text/html": text, "text/plain": f"Not run yet: {what} {command}"}, raw=True, metadata={"grmp": note})

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
            protocol = data.get("protocol", self.results.params.protocol)
            rows = data.assign(protocol=protocol)[["protocol", *cells]].astype(str).drop_duplicates()
            places = [f"{RUNS}{'/'.join(row)}/run.json" for row in rows.itertuples(index=False)]
            records = [place for place in places if (root / place).exists()]
        return {"line": self.line, "read": [r for r in read if not r.startswith(RUNS)], "records": records}

    def _below(self, caption: str) -> None:
        text = f"<b>{html.escape(caption)}</b><br>" if caption else ""
        shown = f'<p class="caption">{text}<small>{html.escape(self.line)}</small></p>'
        display({"text/html": shown, "text/plain": f"{caption} {self.line}".strip()}, raw=True)


def provenance(results: Results, notebook: str) -> str:
    """Settings, scores, code and versions in one line; equal for equal runs. Hashes are the first digits of SHA-256."""
    scores = results.folder / "scores.csv"
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
    try:
        last = _git(code, "log", "-1", "--format=%h", "--abbrev=10", "--", "grmp", "notebooks").strip()
        changed = _git(code, "status", "--porcelain", "--", "grmp", "notebooks").strip()
    except (OSError, subprocess.SubprocessError):
        return "not in git"
    return (last + ("+" if changed else "")) or "not in git"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=20)
    return done.stdout


# ---------------------------------------------------------------------------------------------------- the runner


def execute(name: str, params_file: Path, overrides: Sequence[str] = ()) -> None:
    """Execute ``notebooks/<name>.py`` in the folder of ``params_file``.

    Writes results/notebooks/<name>.ipynb, results/tables/<name> and results/figures/<name>; with ``overrides`` everything
    goes to results/by_hand/<name> instead. The folders are emptied first, and again if the notebook fails. Raises
    UserError for an unknown notebook, an unknown parameter, a value of the wrong type, or a notebook that fails.

    Parameters
    ----------
    overrides
        ``parameter=value``, the value in YAML: ``shots=[50,100]``.
    """
    params = settings.load(params_file)
    root = params_file.resolve().parent
    folder = (root / params.paths.code / "notebooks").resolve()
    names = sorted(path.stem for path in folder.glob("*.py"))
    if name not in names:
        raise UserError(f"no notebook '{name}' in {folder}; known: {', '.join(names) or 'none'}")
    notebook = jupytext.read(folder / f"{name}.py")
    given, known = check_parameters(name, notebook, overrides), parameters(notebook)
    outputs = [root / f"results/{kind}/{name}" for kind in ("tables", "figures")]
    target = root / f"results/notebooks/{name}.ipynb"
    if given:
        outputs, target = [root / BY_HAND / name], root / BY_HAND / name / f"{name}.ipynb"
    with lock(root, f"notebook-{name}"):
        _empty(outputs)
        print(f"notebook {name}: executing", flush=True)
        try:
            executed = clean(_run(notebook, given, root, "" if given else name))
        except BaseException:
            _empty(outputs)
            raise
        values = {p.name: (repr(given[p.name]) if p.name in given else p.default) for p in known.values()}
        executed.metadata["grmp"] = {"parameters": [{"name": n, "value": v} for n, v in values.items()]}  # for the site
        with whole(target) as beside:
            nbformat.write(executed, beside)
    if given:
        print(f"notebook {name}: written to {BY_HAND}/{name}")


def execute_all(params_file: Path) -> None:
    """Execute every notebook of ``report.notebooks``, one per CPU core; the failure of one does not stop the others.

    Raises UserError if some failed.
    """
    names = settings.load(params_file).report.notebooks
    places, failed = [None] * cpus(), []
    for number, (name, state, reason) in enumerate(
        work(partial(execute, params_file=params_file), names, places), start=1
    ):
        print(f"notebook {name}: {state}; {number} of {len(names)}", flush=True)
        if state == "failed":
            failed.append(name)
            print(f"notebook {name}: {reason}", flush=True)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(names)} notebooks failed, see above; run one with: grmp notebooks {failed[0]}"
        )


def parameters(notebook: NotebookNode) -> dict[str, Parameter]:
    """The parameters of the cell tagged ``parameters``: name, type, default and comment, all as text."""
    cell = next((c for c in notebook.cells if "parameters" in c.metadata.get("tags", [])), None)
    return {p.name: p for p in PythonTranslator.inspect(cell)} if cell else {}


def check_parameters(name: str, notebook: NotebookNode, overrides: Sequence[str]) -> dict[str, Any]:
    """Convert ``parameter=value`` texts to the types that the notebook states. Raises UserError with the known parameters."""
    known, given = parameters(notebook), {}
    listed = "; ".join(f"{p.name}: {p.inferred_type_name} = {p.default}" for p in known.values()) or "none"
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in known:
            raise UserError(f"notebook {name} has no parameter '{key[:60]}'; known: {listed}")
        wanted = known[key].inferred_type_name
        kind = eval(wanted, {"__builtins__": {}}, _TYPES)  # from our own notebook's source
        try:
            given[key] = TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(yaml.safe_load(value))
        except (ValidationError, yaml.YAMLError):
            raise UserError(f"notebook {name}: {key} must be {wanted}, got '{value[:60]}'; known: {listed}") from None
    return given


def _run(notebook: NotebookNode, given: dict[str, Any], root: Path, for_site: str) -> NotebookNode:
    """Execute in ``root`` with the kernel of this environment."""
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    filled = parameterize_notebook(notebook, given) if given else notebook
    place = {"metadata": {"path": str(root)}}
    client = NotebookClient(filled, timeout=SECONDS, kernel_name="python3", record_timing=False, resources=place)
    with tempfile.TemporaryDirectory() as empty:  # no start-up files of the user, no history
        try:
            env = {"IPYTHONDIR": empty, "PYDEVD_DISABLE_FILE_VALIDATION": "1", _FOR_SITE: for_site}
            done: NotebookNode = client.execute(env=os.environ | env)
            return done
        except CellExecutionError as error:
            text = " ".join(error.evalue.split())
            if error.ename == "UserError":
                raise UserError(text) from None
            failed = next(c for c in filled.cells if any(o.output_type == "error" for o in c.get("outputs", [])))
            cell = failed.source.strip().partition("\n")[0]
            where = f"(in the cell that begins: {cell})"
            raise UserError(f"a notebook cell failed, {error.ename}: {text} {where}") from None


def clean(notebook: NotebookNode) -> NotebookNode:
    """Remove what differs between two identical runs: times, random cell ids, and stderr."""
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k == "tags"})
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    return notebook


def _empty(folders: Sequence[Path]) -> None:
    """Make the folders exist and empty."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
