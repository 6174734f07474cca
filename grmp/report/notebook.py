"""Execute a percent-format notebook: jupytext -> papermill -> a cleaned .ipynb.

The first cell, tagged ``parameters``, lists typed parameters (``shots: list[int] = []  # what it means``). Values given from
outside are checked against it before anything runs.
"""

import ast
import contextlib
import json
import logging
import os
import re
import shutil
import sys
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from nbformat import NotebookNode
from pydantic import ConfigDict, TypeAdapter, ValidationError

from grmp import params as settings
from grmp.device import cpus
from grmp.errors import UserError
from grmp.files import whole
from grmp.locks import lock
from grmp.pool import work

SECONDS = 600  # per cell; a notebook that draws from records needs a few
_TYPES = {"str": str, "int": int, "float": float, "bool": bool, "list": list}


def execute(name: str, params_file: Path, overrides: Sequence[str] = ()) -> None:
    """Run ``notebooks/<name>.py`` in the folder of ``params_file``; write results/notebooks/<name>.ipynb.

    ``overrides`` are ``parameter=value`` texts, the value as YAML: ``shots=[50,100]``. What the notebook itself writes
    (results/tables/<name>, results/figures/<name>) is emptied first and again if it fails, so nothing old or half-done stays.

    Raises
    ------
    UserError
        For an unknown notebook, an unknown or ill-typed parameter, or a notebook that fails.
    """
    params = settings.load(params_file)
    world = params_file.resolve().parent
    folder = (world / params.paths.code / "notebooks").resolve()
    known = sorted(path.stem for path in folder.glob("*.py"))
    if name not in known:
        raise UserError(f"no notebook '{name}' in {folder}; known: {', '.join(known) or 'none'}")
    notebook = jupytext.read(folder / f"{name}.py")
    given = check_parameters(name, notebook, overrides)
    outputs = [world / "results" / kind / name for kind in ("tables", "figures")]
    with lock(world, f"notebook-{name}"):
        _empty(outputs)
        print(f"notebook {name}: executing", flush=True)
        try:
            executed = clean(_run(notebook, given, world))
            executed.metadata["grmp"] = {"parameters": _told(notebook, given)}  # for the site
        except BaseException:
            _empty(outputs)
            raise
        target = world / "results/notebooks" / f"{name}.ipynb"
        with whole(target) as beside:
            nbformat.write(executed, beside)


def execute_all(params_file: Path) -> None:
    """Run every notebook of ``report.notebooks``, one a CPU; one that fails leaves the others alone.

    Raises
    ------
    UserError
        If some failed, with the reason of each.
    """
    names = settings.load(params_file).report.notebooks
    places = [None] * cpus()
    failed = []
    for number, (name, state, reason) in enumerate(
        work(partial(execute, params_file=params_file), names, places), start=1
    ):
        print(f"notebook {name}: {state}; {number} of {len(names)}", flush=True)
        if state == "failed":
            failed.append(name)
            print(f"notebook {name}: {reason}", flush=True)
    if failed:
        raise UserError(
            f"{len(failed)} of {len(names)} notebooks failed, see above; try one with: grmp notebooks {failed[0]}"
        )


def parameters(notebook: NotebookNode) -> dict[str, tuple[str, Any, str]]:
    """name -> (type as written, default, comment) of the cell tagged ``parameters``."""
    sources = [c.source for c in notebook.cells if "parameters" in c.metadata.get("tags", [])]
    found = {}
    for source in sources[:1]:
        lines = source.splitlines()
        for node in ast.parse(source).body:
            if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name) and node.value is not None:
                comment = lines[node.lineno - 1].partition("#")[2].strip()
                found[node.target.id] = ast.unparse(node.annotation), ast.literal_eval(node.value), comment
    return found


def _told(notebook: NotebookNode, given: dict[str, Any]) -> list[dict[str, str]]:
    """Every parameter with its value and meaning, as text."""
    found = parameters(notebook).items()
    return [{"name": n, "value": repr(given.get(n, default)), "meaning": comment} for n, (_, default, comment) in found]


def check_parameters(name: str, notebook: NotebookNode, overrides: Sequence[str]) -> dict[str, Any]:
    """``parameter=value`` texts -> values of the types that the notebook states.

    Raises
    ------
    UserError
        With the list of known parameters.
    """
    known = parameters(notebook)
    listed = "; ".join(f"{n}: {t} = {d!r}" for n, (t, d, _) in known.items()) or "none"
    given = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if not equals or key not in known:
            raise UserError(f"notebook {name} has no parameter '{key[:60]}'; known: {listed}")
        kind = eval(known[key][0], {"__builtins__": {}}, _TYPES)  # from our own notebook's source
        try:
            given[key] = TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(yaml.safe_load(value))
        except (ValidationError, yaml.YAMLError):
            raise UserError(
                f"notebook {name}: {key} must be {known[key][0]}, got '{value[:60]}'; known: {listed}"
            ) from None
    return given


def _run(notebook: NotebookNode, given: dict[str, Any], world: Path) -> NotebookNode:
    """Execute in ``world`` with the kernel of this very interpreter, quietly."""
    with tempfile.TemporaryDirectory() as scratch, _own_kernel(Path(scratch)), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import papermill

        logging.getLogger("papermill").setLevel(logging.ERROR)
        source, output = Path(scratch) / "source.ipynb", Path(scratch) / "output.ipynb"
        notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(notebook, source)
        try:
            papermill.execute_notebook(
                source, output, given, cwd=world, progress_bar=False, execution_timeout=SECONDS, log_output=False
            )
        except papermill.PapermillExecutionError as error:
            raise UserError(_failure(error.ename, error.evalue, error.source)) from None
        return nbformat.read(output, as_version=4)


def _failure(kind: str, text: str, source: str) -> str:
    """One line: a UserError's own words, or the error and the cell that raised it."""
    text = re.sub(r"\s+", " ", text)
    cell = next((line for line in source.splitlines() if line.strip()), "")
    return (
        text
        if kind == "UserError"
        else f"a notebook cell failed, {kind}: {text} (in the cell that begins: {cell.strip()})"
    )


@contextlib.contextmanager
def _own_kernel(scratch: Path) -> Iterator[None]:
    """A kernelspec named python3 that is this interpreter, found before any that the user may have installed."""
    spec = scratch / "kernels/python3/kernel.json"
    spec.parent.mkdir(parents=True)
    argv = [
        sys.executable,
        "-Xfrozen_modules=off",
        "-m",
        "ipykernel_launcher",
        "-f",
        "{connection_file}",
        "--log-level=CRITICAL",
    ]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Python 3", "language": "python"}))
    ours = {
        "JUPYTER_PATH": str(scratch),
        "IPYTHONDIR": str(scratch / "ipython"),  # no start-up files of the user, no history
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
    }
    before = {key: os.environ.get(key) for key in ours}
    os.environ.update(ours)
    try:
        yield
    finally:
        for key, value in before.items():
            if value is None:
                os.environ.pop(key)
            else:
                os.environ[key] = value


def clean(notebook: NotebookNode) -> NotebookNode:
    """Drop what differs between two identical runs: times, random cell ids, and what was written to stderr."""
    for key in set(notebook.metadata) - {"kernelspec", "language_info"}:
        notebook.metadata.pop(key)
    for number, cell in enumerate(notebook.cells):
        cell["id"] = f"cell-{number}"
        cell.metadata = NotebookNode({k: v for k, v in cell.metadata.items() if k == "tags"})
        if cell.cell_type == "code":
            cell.outputs = [o for o in cell.outputs if o.get("name") != "stderr"]
    return notebook


def _empty(folders: Sequence[Path]) -> None:
    """The folders exist and hold nothing."""
    for folder in folders:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
