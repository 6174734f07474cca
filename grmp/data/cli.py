"""``grmp data ...``: list, fetch, prepare and show the databases."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from grmp.data import registry
from grmp.locks import lock

if TYPE_CHECKING:
    from grmp.params import Params

app = typer.Typer(no_args_is_help=True, add_completion=False, help="The databases: list, fetch, prepare, show.")

ParamsFile = Annotated[Path, typer.Option("--params", help="settings; everything is read and written beside this file")]
Names = Annotated[list[str] | None, typer.Argument(help="databases; none: all of data.databases in params.yaml")]
HERE = Path("params.yaml")


def load(params: Path) -> "Params":
    """The settings. What reads them imports their module; ``--help`` does not, and is there at once."""
    from grmp.params import load as read

    return read(params)


@app.command("list")
def list_(params: ParamsFile = HERE) -> None:
    """All databases that are known: what they hold, what they weigh, and what is here already."""
    from grmp.data.card import size

    folder, wanted = params.parent / "data", load(params).data.databases if params.is_file() else []
    print(f"{'name':<10}{'kind':<11}{'pictures':>9}{'download':>10}{'on disk':>10}  state")
    for entry in registry.DATABASES.values():
        here = [w for w, f in (("fetched", f"raw/{entry.name}.json"), ("prepared", f"prepared/{entry.name}/info.json"))
                if (folder / f).is_file()]  # fmt: skip
        state = ", ".join((["in params.yaml"] if entry.name in wanted else []) + here)
        weight = size(entry.download) if entry.sources else "-"
        print(
            f"{entry.name:<10}{entry.kind:<11}{entry.count or '':>9}{weight:>10}{size(entry.disk):>10}  {state}".rstrip()
        )
    entries = [registry.get(n) for n in wanted]
    down, disk = sum(e.download for e in entries), sum(e.download + e.disk for e in entries)
    if wanted:
        print(f"{params}: {len(wanted)} databases, {size(down)} to download, {size(disk)} of disk with the archives")


@app.command()
def fetch(
    names: Names = None,
    origin: Annotated[Path | None, typer.Option("--from", help="an archive or an unpacked folder instead")] = None,
    params: ParamsFile = HERE,
) -> None:
    """Bring databases to data/raw as published; goes on where it was interrupted."""
    from grmp.data import fetch as fetching
    from grmp.data.card import size
    from grmp.errors import UserError

    raw = params.parent / "data/raw"
    entries = [registry.get(n) for n in names or load(params).data.databases]
    if origin is not None and len(entries) != 1:
        raise UserError("--from is about one database; name it: grmp data fetch NAME --from PATH")
    if origin is None and (planned := fetching.check_disk(entries, raw))[0]:
        print(f"to download: {size(planned[0])}; disk needed: {size(planned[1])}", flush=True)
    for entry in entries:
        with lock(params.parent, f"fetch-{entry.name}"):
            fetching.fetch(entry.name, raw, origin)


@app.command()
def prepare(
    names: Names = None,
    allow_missing: Annotated[
        int, typer.Option(min=0, help="go on without up to this many (or data.allow_missing)")
    ] = 0,
    params: ParamsFile = HERE,
) -> None:
    """Turn databases into data/prepared (one table, one array) and data/splits."""
    from grmp.data import splits
    from grmp.data.labels import training_pictures
    from grmp.data.prepare import prepare as one

    loaded = load(params)
    data, folder = loaded.data, params.parent / "data"
    views = [loaded.under(protocol) for protocol in loaded.protocols]
    keep = any(view.data.keep_excluded for view in views)
    allowed = max(allow_missing, data.allow_missing)
    for name in [registry.get(n).name for n in names or data.databases]:
        with lock(params.parent, f"prepare-{name}"):
            table = one(name, folder / "raw", folder / "prepared", data.size, data.aspect, allowed, keep)
            for view in views:
                left_out = [] if view.data.keep_excluded else training_pictures(name, table["image"])
                path = folder / f"splits/{name}/{view.protocol}.csv"
                splits.make(table, path, **view.splits.model_dump(), left_out=left_out)
            splits.make_official(table, folder / f"splits/{name}/official.csv", loaded.splits.seed)


@app.command()
def show(name: str, params: ParamsFile = HERE) -> None:
    """The card of a database; where it is prepared, also a sheet of pictures from worst to best."""
    from grmp.data import dataset as prepared
    from grmp.data.card import card, sheet

    entry, folder = registry.get(name), params.parent / "data/prepared" / name
    here = prepared.load(folder) if (folder / "info.json").is_file() else None
    print(card(entry, here))
    if here is None:
        print(f"  not prepared here; run: grmp data fetch {name} && grmp data prepare {name}")
    else:
        path = params.parent / "data/raw" / f"{name}-sheet.png"
        sheet(here, path)
        print(f"  sheet      {path}")
