"""``grmp data ...``: list, fetch, prepare and show the databases."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grmp.locks import lock

if TYPE_CHECKING:
    from grmp.params import Params

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The databases: list, fetch, prepare, show.")

ParamsFile = Annotated[Path, typer.Option("--params", help="settings file; its folder is the pipeline folder")]
Names = Annotated[list[str] | None, typer.Argument(help="databases [default: data.databases in params.yaml]")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON, one object per line")]
HERE = Path("params.yaml")


def load(params: Path) -> "Params":
    """The settings, imported when needed so that ``--help`` is fast."""
    from grmp.params import load as read

    return read(params)


@app.command("list", epilog="Example: grmp data list --params demo/params.yaml")
def list_(params: ParamsFile = HERE, as_json: AsJson = False) -> None:
    """List the known databases with their sizes, and which of them are here."""
    from grmp.data import databases
    from grmp.data.card import size

    folder, wanted = params.parent / "data", []
    if params.is_file() or params != HERE:
        wanted = load(params).data.databases
    if not as_json:
        print(f"{'name':<10}{'kind':<11}{'images':>9}{'download':>10}{'on disk':>10}  state")
    for name, entry in databases.known().items():
        states = {
            "in params.yaml": name in wanted,
            "fetched": (folder / f"raw/{name}.json").is_file(),
            "prepared": (folder / f"prepared/{name}/info.json").is_file(),
        }
        state = ", ".join(word for word, true in states.items() if true)
        weight = size(entry.download) if entry.sources else "-"
        row = {"name": name, "images": entry.scores.count, "bytes": entry.disk, **states}
        line = f"{name:<10}{entry.kind:<11}{entry.scores.count or '':>9}{weight:>10}{size(entry.disk):>10}  {state}"
        print(json.dumps(row) if as_json else line.rstrip())
    entries = [databases.get(n) for n in wanted]
    down, disk = sum(e.download for e in entries), sum(e.disk for e in entries)
    if wanted and not as_json:
        print(f"{params}: {len(wanted)} databases, {size(down)} to download, {size(disk)} unpacked")


@app.command(epilog="Example: grmp data fetch livec --from ChallengeDB_release")
def fetch(
    names: Names = None,
    origin: Annotated[
        Path | None,
        typer.Option("--from", help="archive, or folder of archives or unpacked files, instead of a download"),
    ] = None,
    min_rate: Annotated[
        float, typer.Option(min=0, envvar="GRMP_MIN_RATE", help="kB/s below which the next source is tried")
    ] = 100,
    params: ParamsFile = HERE,
) -> None:
    """Download databases to data/raw as published; resumes where it was interrupted."""
    from grmp.data import databases
    from grmp.data import fetch as fetching
    from grmp.data.card import size
    from grmp.errors import UserError

    raw, listed = params.parent / "data/raw", load(params).data.databases  # before a folder is made beside it
    entries = [databases.get(n) for n in names or listed]
    if origin is not None and len(entries) != 1:
        raise UserError("--from needs exactly one database; run: grmp data fetch NAME --from PATH")
    if origin is None and (planned := fetching.check_disk(entries, raw))[0]:
        print(f"to download: {size(planned[0])}; disk needed: {size(planned[1])}", flush=True)
    for entry in entries:
        with lock(params.parent, f"fetch-{entry.name}"):
            fetching.fetch(entry.name, raw, origin, 1000 * min_rate)


@app.command(epilog="Example: grmp data prepare livec")
def prepare(
    names: Names = None,
    allow_missing: Annotated[
        int, typer.Option(min=0, help="accept up to this many missing or corrupt images [default: data.allow_missing]")
    ] = 0,
    params: ParamsFile = HERE,
) -> None:
    """Turn fetched databases into data/prepared (one table, one array) and data/splits."""
    from grmp.data import databases, splits
    from grmp.data.prepare import prepare as prepare_one

    loaded = load(params)
    data, folder = loaded.data, params.parent / "data"
    views = [loaded.under(protocol) for protocol in loaded.protocols]
    keep = any(view.data.keep_excluded for view in views)
    allowed = max(allow_missing, data.allow_missing)
    for name in [databases.get(n).name for n in names or data.databases]:
        with lock(params.parent, f"prepare-{name}"):
            raw, prepared, ways = folder / "raw", folder / "prepared", loaded.views(name)
            table = prepare_one(name, raw, prepared, data.size, data.aspect, allowed, keep, ways)
            for view in views:
                left_out = [] if view.data.keep_excluded else databases.excluded(name, table["image"])
                path = folder / f"splits/{name}/{view.protocol}.csv"
                splits.make(table[~table["image"].isin(left_out)], path, **view.splits.model_dump())
            splits.make_official(table, folder / f"splits/{name}/official.csv", loaded.splits.seed)


@app.command(epilog="Example: grmp data show koniq10k")
def show(name: str, params: ParamsFile = HERE) -> None:
    """Print the card of a database and, if it is prepared, save a contact sheet of its images from worst to best."""
    from grmp.data import databases, dataset
    from grmp.data.card import card, sheet

    entry, prepared = databases.get(name), dataset.prepared(params.parent, name)
    print(card(entry, prepared))
    if prepared is None:
        print(f"  not prepared; run: grmp data fetch {name} && grmp data prepare {name}")
    else:
        path = params.parent / "data/raw" / f"{name}.sheet.png"
        sheet(prepared, path)
        print(f"  sheet      {path}")
