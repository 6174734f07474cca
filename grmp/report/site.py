"""The site of a pipeline folder, built by Sphinx: a landing page, the executed notebooks, docs/ and the API reference.

Pages link to the files in results/ instead of copying them, so results/ is moved or published as one folder.
"""

import html
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from pkgutil import walk_packages
from tempfile import TemporaryDirectory
from typing import Any

import pandas as pd

from grmp.errors import UserError, reading
from grmp.files import read_json, whole_folder, write_text
from grmp.params import ACROSS, Grid, Params, merged
from grmp.report.results import SIMULATED, Results, at, title
from grmp.report.table import with_interval

LIBRARY = Path(__file__).parents[1]
PACKAGES = ("params", "data", "clip", "pretrain", "finetune", "methods", "experiments", "report")


def build(params: Params, results: Path, packages: Sequence[str] = PACKAGES) -> None:
    """Write ``results/site``; it opens from disk, without a server or a network. ``packages`` are in the API reference.

    Raises UserError if an executed notebook is corrupt, docs/ is missing, or Sphinx fails.
    """
    code = (results.parent / params.paths.code).resolve()
    if not (code / "docs/conf.py").is_file():
        raise UserError(f"{code}/docs/conf.py is missing; set paths.code in params.yaml to the repository")
    with TemporaryDirectory() as scratch, whole_folder(results / "site") as out:
        pages = Path(scratch) / "pages"
        shutil.copytree(code / "docs", pages)
        done = [name for name in params.report.notebooks if (results / f"notebooks/{name}.ipynb").is_file()]
        for name in done:
            write_text(pages / f"notebooks/{name}.ipynb", render_notebook(results, name))
        write_text(pages / "index.md", landing_page(params, results))
        missing = [f"Not run yet: `grmp notebooks {name}`" for name in params.report.notebooks if name not in done]
        write_text(pages / "results.md", _toctree("Results", [f"notebooks/{name}" for name in done], missing))
        write_text(pages / "files.md", files_page(results))
        write_text(pages / "api.md", _toctree("API reference", [f"api/{package}" for package in packages]))
        for package in packages:
            write_text(pages / f"api/{package}.md", reference_page(package))
        command = [sys.executable, "-m", "sphinx", "-q", "-c", str(code / "docs"), "-d", f"{scratch}/doctrees"]
        command += [str(pages), str(out)]
        environment = os.environ | {"PYTHONHASHSEED": "0"}
        run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
        if run.returncode:
            raise UserError(f"Sphinx failed: {(run.stderr.strip().splitlines() or ['no message'])[-1]}")
        for unused in (out / ".buildinfo", out / "_static/webpack-macros.html", *out.rglob("*.map")):
            unused.unlink()
        shutil.rmtree(out / "_sources", ignore_errors=True)  # empty
        shutil.rmtree(out.parent / "jupyter_execute", ignore_errors=True)  # MyST-NB writes it beside its output


def landing_page(params: Params, results: Path) -> str:
    """What was done, on what, and what came out; every number is read from ``results``."""
    grid, keys = _main_grid(params), params.run.run_keys()
    done = {key for key in keys if (key.folder(results.parent) / "run.json").is_file()}
    # of others' methods, what they have scored
    asked = done | {key for key in keys if params.methods[key.method].computed}
    read = Results(results.parent, params)
    ends = dict.fromkeys(end for name in grid.databases for end in name.split(ACROSS))
    simulated = [name for name in ends if read.rating(name) == SIMULATED]
    what = "GRMP-IQA predicts the perceived quality of an image with CLIP, from a few rated images. "
    if grid.databases and grid.methods and grid.shots:
        what += (
            f"This site compares {len(grid.methods)} methods, each given {_listed(grid.shots)} labelled images "
            f"of {_listed(map(title, grid.databases))} and tested on other images, over {params.splits.count} random splits. "
        )
    parts = [f"# {params.report.title}", f"{what}{len(done)} of {len(asked)} runs are complete."]
    if simulated:
        how = "by a full-reference metric with rater noise"
        parts.append(f"The ratings of {_listed(map(title, simulated))} are **simulated** {how}.")
    if (results / "figures/few_shot/curves_srcc.svg").is_file():
        words = "SRCC against the number of labelled images: one panel per database, one line per method"
        caption = "Median SRCC over splits with its bootstrap interval; every dot is one split."
        image = f'<img src="../figures/few_shot/curves_srcc.svg" alt="{words}">'
        link = f'<a href="notebooks/few_shot.html">{image}</a>'
        parts.append(f"<figure>{link}<figcaption>{caption}</figcaption></figure>")
    parts.append(_main_numbers(read))
    claims = results / "tables/summary/claims.csv"
    verdicts = pd.read_csv(claims).groupby("claim", sort=False)["verdict"] if claims.is_file() else ()
    left = [claim for claim, of_protocols in verdicts if (of_protocols == "not run").all()]
    if left:
        parts += ["## Claims of the paper that were not tested here", "\n".join(f"* {claim}" for claim in left)]
    toctree = "```{toctree}\n:hidden:\n\nresults\nguide\napi\nfiles\n```"
    return "\n\n".join([*(part for part in parts if part), toctree])


def _main_grid(params: Params) -> Grid:
    """The few-shot grid, or that across databases where the former has no run."""
    few = params.run.few_shot
    return few if few.databases and few.methods and few.shots else params.run.cross


def _main_numbers(results: Results) -> str:
    """The answers to the first three questions of ``evaluate.pairs``, below the SRCC of the third one's first method."""
    grid, questions = _main_grid(results.params), results.params.evaluate.pairs[:3]
    if not questions or not grid.shots or results.pairs.empty:
        return ""
    summary, pairs = (at(t, shots=grid.shots[-1], metric="srcc") for t in (results.summary, results.pairs))
    last = f"SRCC of {results.label(questions[-1].method)}, median"
    rows = {last: at(summary, method=questions[-1].method)[["database", "median", "median_low", "median_high"]]}
    for pair in questions:
        found = at(pairs, method=pair.method, against=pair.against)[["database", "mean", "low", "high"]]
        rows[f"{results.label(pair.method)} minus {results.label(pair.against)}"] = found
    cells = {name: {d: with_interval(*v) for d, *v in part.itertuples(index=False)} for name, part in rows.items()}
    shown = pd.DataFrame(cells, grid.databases).T.rename(columns=title).fillna("not run")
    shown = shown.rename_axis(f"{grid.shots[-1]} labels").reset_index()
    level = f"{100 * results.params.evaluate.level:g} % interval"
    note = f"Brackets: {level}, of a median over splits, of a difference over splits and images."
    return f"{shown.to_markdown(index=False)}\n\nDifferences are paired by split. {note}"


def render_notebook(results: Path, name: str) -> str:
    """An executed notebook whose figures are links to results/figures, each figure and table with its provenance."""
    path = results / f"notebooks/{name}.ipynb"
    with reading(path, f"run it again with: grmp notebooks {name}"):
        notebook = read_json(path)
        settings = notebook["metadata"].get("grmp", {}).get("parameters", [])
        for cell in (cell for cell in notebook["cells"] if cell["cell_type"] == "code"):
            cell["outputs"] = [new for old in cell["outputs"] for new in _output(results, name, old, settings)]
            cell["metadata"]["tags"] = ["hide-input" if cell["outputs"] else "remove-cell"]
        return json.dumps(notebook)


def _output(results: Path, notebook: str, output: dict[str, Any], settings: list[dict[str, str]]) -> list[Any]:
    """A figure or table with its files and provenance; the caption that follows it in Jupyter is left out."""
    note = output.get("metadata", {}).get("grmp")
    if note is None:
        text = "".join(output.get("data", {}).get("text/html", ""))
        return [] if text.startswith('<p class="caption">') else [output]
    if note["kind"] == "hole":
        return [output]
    folder, name = f"{note['kind']}s/{notebook}", note["name"]
    files = sorted(path for path in (results / folder).glob(f"{name}*") if path.stem.removesuffix("_short") == name)
    links = " ".join(_link(f"{folder}/{file.name}", file.name.removeprefix(name).lstrip("._")) for file in files)
    shown = f"<p>{links}</p>"
    if note["kind"] == "figure":
        size = f'width="{note["width"]}" height="{note["height"]}"'
        image = f'<img src="../../{folder}/{name}.svg" alt="{html.escape(note["alt"])}" {size} loading="lazy">'
        shown = f"<figure>{image}<figcaption>{html.escape(note['caption'])} {links}</figcaption></figure>"
    given = ", ".join(f"<code>{p['name']} = {html.escape(p['value'])}</code>" for p in settings) or "none"
    places = [*note["read"], *note["records"]]
    read = [_link(p.removeprefix("results/"), p) if p.startswith("results/") else p for p in places]
    origin = (
        f"<p>Stage <code>notebooks</code>, notebook <code>{notebook}</code>; parameters: {given}; read: "
        f"{', '.join(read) or 'the settings only'}; versions: {html.escape(note['line'])}</p>"
    )
    details = f'<details class="provenance"><summary>Provenance</summary>{origin}</details>'
    data = {"text/html": shown + details, "text/plain": note["caption"]}
    below = {"output_type": "display_data", "metadata": {}, "data": data}
    return [below] if note["kind"] == "figure" else [output, below]


def _link(place: str, text: str) -> str:
    """To a file in results/, from a page one folder below the site's."""
    return f'<a href="../../{place}">{text}</a>'


def files_page(results: Path) -> str:
    """The tables of ``collect``, every run record and the settings."""
    tables = sorted([*results.glob("*.csv"), *results.glob("*.json")])
    groups: dict[str, list[str]] = {}
    for record in sorted(results.glob("runs/*/*/*/*/run.json")):
        place = record.relative_to(results)
        link = f'<a href="../{place.as_posix()}">{place.parts[4]}</a>'
        groups.setdefault("/".join(place.parts[1:4]), []).append(link)
    parts = ["# Files", "Tables: " + ", ".join(f'<a href="../{path.name}">{path.name}</a>' for path in tables)]
    parts += ["## Run records", "\n".join(f"* {group}: {', '.join(links)}" for group, links in groups.items())]
    parts += ["## Settings", f"```yaml\n{merged(results.parent / 'params.yaml')}\n```"]
    return "\n\n".join(parts)


def reference_page(package: str) -> str:
    """The docstrings of the modules of one package, but of the commands, which ``--help`` describes."""
    parts, name = [f"# grmp.{package}"], f"grmp.{package}"
    modules = sorted(m.name for m in walk_packages([str(LIBRARY / package)], f"{name}."))
    for module in [name, *(m for m in modules if not m.endswith(".cli"))]:
        heading = f"## {module.removeprefix(f'grmp.{package}.')}\n\n" if len(parts) > 1 else ""
        parts.append(f"{heading}```{{eval-rst}}\n.. automodule:: {module}\n   :members:\n   :ignore-module-all:\n```")
    return "\n\n".join(parts)


def _toctree(title: str, pages: list[str], notes: Sequence[str] = ()) -> str:
    return "\n\n".join([f"# {title}", *notes, "```{toctree}\n:maxdepth: 1\n\n" + "\n".join(pages) + "\n```"])


def _listed(values: Iterable[object]) -> str:
    *first, last = map(str, values)
    return f"{', '.join(first)} and {last}" if first else last
