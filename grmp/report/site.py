"""The site: one page with every table, figure and notebook, read from what the executed notebooks say of themselves."""

import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bleach import clean
from markupsafe import Markup

from grmp.errors import UserError
from grmp.files import read_json, whole_folder
from grmp.params import Params
from grmp.report import tables
from grmp.report.collect import COLUMNS
from grmp.report.cost import cost_table
from grmp.report.page import render, script
from grmp.report.results import Results
from grmp.report.style import FORMATS

TAGS = {"table", "caption", "thead", "tbody", "tr", "th", "td", "div", "p", "b", "code"}  # of which tables are made


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
    files: list[str] = field(default_factory=list)  # these and the next: links, relative to the site's folder
    read: list[tuple[str, str]] = field(default_factory=list)  # (name, link) of what it was made from; no link to data
    records: list["Group"] = field(default_factory=list)
    all_records: bool = False  # made from the tables of all records


@dataclass
class Group:
    """Run records of one protocol, database and method, as links."""

    name: str
    links: list[tuple[str, str]]  # (shots, link)


@dataclass
class Section:
    """A notebook: its title, what it shows, and whether it has been executed."""

    name: str
    title: str
    items: list[Item]
    done: bool = True
    about: list[str] = field(default_factory=list)  # its opening paragraphs
    source: str = ""  # link to the percent-format source
    parameters: list[dict[str, str]] = field(default_factory=list)  # name, value, meaning


def build(params: Params, results: Path) -> None:
    """Write ``results/site/index.html`` from whatever notebooks have been executed; links are relative, nothing is fetched.

    Raises
    ------
    UserError
        If an executed notebook is damaged, or the folder cannot be written.
    """
    world = Results(results.parent, params)
    sections = [section(results, name, params.paths.code) for name in params.report.notebooks]
    settings = results.parent / "params.yaml"
    items = {(s.name, item.name): item for s in sections for item in s.items if item.kind == "table"}
    main = items.get(("summary", "claims")) or items.get(("few_shot", "scores"))
    missing, cells = world.missing(), len(params.run.run_keys())
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
        first_missing=missing[0].command if missing else "",
        minutes=world.cost["seconds"].sum() / 60,
        cost=Markup(cost_table(world).html()) if len(world.cost) else "",
        left_out=Markup(out.html()) if out else "",
        records=groups(results, (p.as_posix() for p in sorted(results.glob("runs/*/*/*/*/run.json")))),
        settings=settings.read_text().splitlines() if settings.is_file() else [],
        script=script(),
        downloads=[name for name in (*COLUMNS, "metrics.json") if (results / name).is_file()],
    )
    with whole_folder(results / "site") as folder:
        (folder / "index.html").write_text(page)


def section(results: Path, name: str, code: str = ".") -> Section:
    """What one executed notebook holds; ``code`` is where notebooks/ lies, seen from the world's folder."""
    path = results / "notebooks" / f"{name}.ipynb"
    source = results.parent / code / "notebooks" / f"{name}.py"
    link = os.path.relpath(source, results / "site") if source.is_file() else ""
    if not path.is_file():
        return Section(name, name.replace("_", " ").capitalize(), [], done=False, source=link)
    try:
        notebook = read_json(path)
        cells = notebook["cells"]
        outputs = [o for cell in cells for o in cell.get("outputs", []) if "grmp" in o.get("metadata", {})]
        heading = next((c for c in cells if c["cell_type"] == "markdown"), {"source": ""})
        title, about = _opening("".join(heading["source"]), name)
        items = [_item(results, name, output) for output in outputs]
        told = notebook["metadata"].get("grmp", {}).get("parameters", [])
        return Section(name, title, items, about=about, source=link, parameters=told)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise UserError(f"{path} is damaged ({error}); make it again with: grmp notebooks {name}") from None


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
        body=_table(output) if note["kind"] != "figure" else Markup(),
        alt=note.get("alt", ""),
        width=note.get("width", 0),
        height=note.get("height", 0),
        files=[f"../{file}" for file in files if (results / file).is_file()],
        read=[(place, _link(results, place)) for place in note["read"]],
        records=groups(results, (str(results.parent / place) for place in note["records"])),
        all_records=any(place in {f"results/{name}" for name in (*COLUMNS, "cost.json")} for place in note["read"]),
    )


def _table(output: dict[str, Any]) -> Markup:
    """The HTML of a table, or of a line that names what was not run: nothing else, as a notebook may come from elsewhere."""
    return Markup(clean("".join(output["data"]["text/html"]), TAGS, ["class", "scope"]))


def _link(results: Path, place: str) -> str:
    """A link to a file below results/; none to the data, which are not kept with the site."""
    inside = place.startswith("results/") and (results.parent / place).is_file()
    return place.replace("results/", "../", 1) if inside else ""


def groups(results: Path, files: Iterable[str]) -> list[Group]:
    """The run.json files that are there, by protocol, database and method."""
    found: dict[str, Group] = {}
    for file in files:
        if Path(file).is_file():
            *group, shots, _ = Path(file).relative_to(results / "runs").parts
            link = Path(file).relative_to(results).as_posix()
            found.setdefault("/".join(group), Group("/".join(group), [])).links.append((shots, f"../{link}"))
    return list(found.values())


def _opening(source: str, name: str) -> tuple[str, list[str]]:
    """The first heading of a notebook and the paragraphs below it."""
    lines = source.splitlines()
    title = next((line.lstrip("# ").strip() for line in lines if line.startswith("# ")), name)
    rest = "\n".join(line for line in lines if not line.startswith("#"))
    return title, [" ".join(p.split()) for p in rest.split("\n\n") if p.strip()]
