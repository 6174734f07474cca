"""The site: one page with every table, figure and notebook, read from what the executed notebooks say of themselves."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from markupsafe import Markup

from grmp.collect import COLUMNS
from grmp.errors import UserError
from grmp.files import whole_folder
from grmp.params import Params
from grmp.report import tables
from grmp.report.page import render
from grmp.report.style import FORMATS
from grmp.report.world import World


@dataclass
class Item:
    """A figure, table or hole of a notebook."""

    kind: str
    name: str
    caption: str
    line: str
    body: Markup = field(default_factory=Markup)
    alt: str = ""
    width: int = 0
    height: int = 0
    files: list[str] = field(default_factory=list)  # relative to the site's folder


@dataclass
class Section:
    """A notebook: its title, what it shows, and whether it has been executed."""

    name: str
    title: str
    items: list[Item]
    done: bool = True


def build(params: Params, results: Path) -> None:
    """Write ``results/site/index.html`` from whatever notebooks have been executed; links are relative, nothing is fetched.

    Raises
    ------
    UserError
        If an executed notebook is damaged, or the folder cannot be written.
    """
    world = World(results.parent, params)
    sections = [section(results, name) for name in params.report.notebooks]
    main = next((i for s in sections for i in s.items if (s.name, i.name) == ("few_shot", "scores")), None)
    missing, cells = world.missing(), len(params.run.cells())
    out = tables.left_out(world)
    page = render(
        "site.html.j2",
        title=params.report.title,
        sections=sections,
        main=main,
        run=params.run.few_shot,
        simulated=[d for d in params.run.few_shot.databases if world.opinion(d) == "simulated opinion"],
        splits=params.splits.count,
        labels=[params.methods[name].label for name in params.run.few_shot.methods],
        done=cells - len(missing),
        cells=cells,
        first_missing=params.run.stage(missing[0]) if missing else "",
        minutes=world.cost["seconds"].sum() / 60,
        cost=Markup(tables.cost(world).html()) if len(world.cost) else "",
        left_out=Markup(out.html()) if out else "",
        downloads=[name for name in (*COLUMNS, "metrics.json") if (results / name).is_file()],
    )
    with whole_folder(results / "site") as folder:
        (folder / "index.html").write_text(page)


def section(results: Path, name: str) -> Section:
    """What one executed notebook holds."""
    path = results / "notebooks" / f"{name}.ipynb"
    if not path.is_file():
        return Section(name, name.replace("_", " ").capitalize(), [], done=False)
    try:
        cells = json.loads(path.read_text())["cells"]
        outputs = [o for cell in cells for o in cell.get("outputs", []) if "grmp" in o.get("metadata", {})]
        heading = next((c for c in cells if c["cell_type"] == "markdown"), {"source": ""})
        return Section(name, _title(heading["source"], name), [_item(results, name, output) for output in outputs])
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path} is damaged ({error}); make it again with: dvc repro -f notebook@{name}") from None


def _item(results: Path, notebook: str, output: dict[str, Any]) -> Item:
    """One output that a sheet has put on its page."""
    note = output["metadata"]["grmp"]
    kinds = {"figure": ("figures", FORMATS), "table": ("tables", ("csv", "md", "tex")), "hole": ("", ())}
    room, endings = kinds[note["kind"]]
    files = [f"{room}/{notebook}/{note['name']}.{ending}" for ending in endings]
    return Item(
        kind=note["kind"],
        name=note["name"],
        caption=note["caption"],
        line=note["line"],
        body=Markup("".join(output["data"]["text/html"])) if note["kind"] != "figure" else Markup(),
        alt=note.get("alt", ""),
        width=note.get("width", 0),
        height=note.get("height", 0),
        files=[f"../{file}" for file in files if (results / file).is_file()],
    )


def _title(source: str | list[str], name: str) -> str:
    """The first heading of a notebook."""
    lines = "".join(source).splitlines()
    return next((line.lstrip("# ").strip() for line in lines if line.startswith("# ")), name)
