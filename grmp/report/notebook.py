"""Execute a percent-format notebook (jupytext, nbclient) and store its figures and tables.

The first cell, tagged ``parameters``, lists typed parameters (``shots: list[int] = []  # what it means``). Values given from
outside are checked against it before anything runs.
"""

import os
import shutil
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jupytext
import nbformat
import yaml
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, DeadKernelError
from nbformat import NotebookNode
from papermill.translators import Parameter, PythonTranslator
from pydantic import ConfigDict, TypeAdapter, ValidationError

from grmp import params as settings
from grmp.device import cpus
from grmp.errors import UserError
from grmp.files import write_text
from grmp.locks import lock
from grmp.pool import work
from grmp.report.page import BY_HAND, FOR_SITE

SECONDS = 600  # per cell


def execute(name: str, params_file: Path, overrides: Sequence[str] = ()) -> None:
    """Execute ``notebooks/<name>.py`` in the folder of ``params_file``.

    Writes results/notebooks/<name>.ipynb, results/tables/<name> and results/figures/<name>; with ``overrides`` (such as
    ``shots=[50,100]``, the value in YAML) everything goes to results/by_hand/<name> instead. What an earlier call wrote is
    deleted first. Raises UserError for an unknown notebook, parameter or method, a value of the wrong type, or a notebook
    that fails.
    """
    params = settings.load(params_file)
    root = params_file.resolve().parent
    folder = (root / params.paths.code / "notebooks").resolve()
    names = sorted(path.stem for path in folder.glob("*.py"))
    if name not in names:
        raise UserError(f"no notebook '{name}' in {folder}; known: {', '.join(names) or 'none'}")
    notebook = jupytext.read(folder / f"{name}.py")
    given = check_parameters(name, notebook, overrides)
    asked = [*given.get("methods", []), *([given["method"]] if "method" in given else [])]
    if unknown := [method for method in asked if method not in params.methods]:
        raise UserError(f"no method '{unknown[0]}' in {params_file}; methods: {', '.join(params.methods)}")
    outputs = [root / BY_HAND / name] if given else [root / f"results/{kind}/{name}" for kind in ("tables", "figures")]
    target = (outputs[0] if given else root / "results/notebooks") / f"{name}.ipynb"
    with lock(root, f"notebook-{name}"):
        target.unlink(missing_ok=True)
        _empty(outputs)
        print(f"notebook {name}: executing", flush=True)
        try:
            executed = clean(_run(notebook, given, root, "" if given else name))
        except BaseException:
            _empty(outputs)
            raise
        values = {p.name: p.default for p in parameters(notebook).values()} | {n: repr(v) for n, v in given.items()}
        executed.metadata["grmp"] = {"parameters": [{"name": n, "value": v} for n, v in values.items()]}  # for the site
        write_text(target, nbformat.writes(executed) + "\n")
    if given:
        print(f"notebook {name}: written to {BY_HAND}/{name}")


def execute_all(params_file: Path) -> None:
    """Execute every notebook of ``report.notebooks``, one per CPU core; the failure of one does not stop the others.

    Raises UserError if some failed.
    """
    names, failed = settings.load(params_file).report.notebooks, []
    ended = work(partial(execute, params_file=params_file), names, [None] * cpus())
    for number, (name, state, reason) in enumerate(ended, start=1):
        print(f"notebook {name}: {reason or state}; {number} of {len(names)}", flush=True)
        failed += [name] if state == "failed" else []
    if failed:
        count = f"{len(failed)} of {len(names)} notebooks failed, see above"
        raise UserError(f"{count}; run one with: grmp notebooks {failed[0]}")


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
        kind = eval(wanted)  # from our own notebook's source
        try:
            given[key] = TypeAdapter(kind, config=ConfigDict(strict=True)).validate_python(yaml.safe_load(value))
        except (ValidationError, yaml.YAMLError):
            raise UserError(f"notebook {name}: {key} must be {wanted}, got '{value[:60]}'; known: {listed}") from None
    return given


def _run(notebook: NotebookNode, given: dict[str, Any], root: Path, for_site: str) -> NotebookNode:
    """Execute in ``root`` with the kernel of this environment."""
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    if given:  # in a cell of its own, as papermill does
        at = next(i for i, c in enumerate(notebook.cells) if "parameters" in c.metadata.get("tags", []))
        cell = nbformat.v4.new_code_cell("\n".join(f"{name} = {value!r}" for name, value in given.items()))
        notebook.cells.insert(at + 1, cell)
    place, quiet = {"metadata": {"path": str(root)}}, ["--log-level=ERROR"]
    client = NotebookClient(notebook, timeout=SECONDS, record_timing=False, resources=place, extra_arguments=quiet)
    with tempfile.TemporaryDirectory() as empty:  # no start-up files of the user, no history
        try:
            env = {"IPYTHONDIR": empty, "PYDEVD_DISABLE_FILE_VALIDATION": "1", FOR_SITE: for_site}
            done: NotebookNode = client.execute(env=os.environ | env)
            return done
        except CellExecutionError as error:
            text = " ".join(error.evalue.split())
            if error.ename == "UserError":
                raise UserError(text) from None
            failed = next(c for c in notebook.cells if any(o.output_type == "error" for o in c.get("outputs", [])))
            where = f"in the cell that begins: {failed.source.strip().splitlines()[0]}"
            raise UserError(f"a notebook cell failed, {error.ename}: {text} ({where})") from None
        except DeadKernelError:
            raise UserError("the kernel of the notebook was killed, perhaps for lack of memory; run it again") from None


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
