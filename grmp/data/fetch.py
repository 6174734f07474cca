"""A database as published, below ``raw/<name>``; its receipt ``raw/<name>.json`` comes last and means "whole".

raw/.downloads/<name>/   archives on their way, resumed by the next call (those of the Hub lie in its client's own cache)
raw/.<name>.partial/     being unpacked; thrown away by the next call
raw/.<name>.receipt      the receipt while the unpacked folder takes its place
"""

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from grmp.data import registry
from grmp.data.archives import BadArchive, is_archive, unpack
from grmp.data.download import SourceFailed, download
from grmp.data.registry import Database
from grmp.data.sources import HUB, File, Source
from grmp.errors import UserError
from grmp.files import read_json, sha256, sha256_of, write_json

SLACK = (
    1_000_000_000  # bytes beyond the registry's estimate that an archive may unpack to, or a file of unknown size have
)


def listing(folder: Path) -> list[tuple[str, int]]:
    """(relative path, bytes) of every file below ``folder``, sorted; hidden files and ``__MACOSX`` are left out."""
    found = []
    for here, folders, files in os.walk(folder):
        folders[:] = [f for f in folders if not f.startswith(".") and f != "__MACOSX"]
        for file in files:
            path = Path(here, file)
            if not file.startswith(".") and path.is_file():  # a link to nothing is none
                found.append((path.relative_to(folder).as_posix(), path.stat().st_size))
    return sorted(found)


def receipt(name: str, raw: Path) -> dict[str, Any] | None:
    """The receipt of a fetched database, or None if it is not there.

    Raises
    ------
    UserError
        If the folder no longer holds what the receipt says.
    """
    path, folder = raw / f"{name}.json", raw / name
    if not path.is_file() or not folder.exists():
        return None
    try:
        held = read_json(path)
        whole = held["listing"] == sha256_of(listing(folder))
    except (ValueError, KeyError, TypeError):
        raise UserError(f"{path} is damaged; delete it and run: grmp data fetch {name}") from None
    if not whole:
        raise UserError(
            f"{folder} has changed since it was fetched; delete {path} to take it as it is, the folder too to fetch anew"
        )
    return dict(held)


def fetch(name: str, raw: Path, origin: Path | None = None) -> None:
    """Bring the database ``name`` to ``raw/<name>``; does nothing where a valid receipt is there.

    Parameters
    ----------
    origin
        An archive, a folder of archives and score files, or an unpacked folder (linked, not copied), instead of a download.

    Raises
    ------
    UserError
        If no source gives it; the line names each source's reason and the way by hand.
    """
    entry = registry.get(name)
    staging, pending, folder = raw / f".{name}.partial", raw / f".{name}.receipt", raw / name
    if pending.is_file() and (folder.exists() or staging.exists()):  # stopped between two renames: go on
        _settle(staging, pending, raw, name)
    if receipt(name, raw):
        shutil.rmtree(raw / ".downloads" / name, ignore_errors=True)  # a kill may have come just before
        print(f"{name}: already fetched, see {raw / name}.json")
        return
    raw.mkdir(parents=True, exist_ok=True)
    for stray in (staging, pending, *raw.glob(f"..{name}.partial.*")):
        _remove(stray)  # of a process that was killed
    if folder.exists() and origin is None:
        print(f"{name}: {folder} is there without a receipt; taken as it is")
        write_json(raw / f"{name}.json", _receipt(entry, "found in place", [], folder))
        return
    if folder.exists() and not folder.is_symlink():
        raise UserError(
            f"{folder} is there without a receipt; move it away first, or run without --from to take it as it is"
        )
    files: list[dict[str, Any]] = []
    if entry.kind == "simulated":
        from grmp.data.simulated import databases as world

        world.render(name, staging)
        source = "simulated"
    elif origin is not None:
        source, files = _take(entry, origin, staging)
    else:
        source, files = _download(entry, raw, staging)
    write_json(pending, _receipt(entry, source, files, staging))
    _settle(staging, pending, raw, name)
    shutil.rmtree(raw / ".downloads" / name, ignore_errors=True)


def _settle(staging: Path, pending: Path, raw: Path, name: str) -> None:
    """The last two renames: the folder, then its receipt."""
    if staging.exists() or staging.is_symlink():
        if (raw / name).is_symlink():
            (raw / name).unlink()
        staging.replace(raw / name)
    pending.replace(raw / f"{name}.json")


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _receipt(entry: Database, source: str, files: list[dict[str, Any]], folder: Path) -> dict[str, Any]:
    content = listing(folder)
    return {
        "database": entry.name,
        "source": source,
        "files": files,
        "entries": len(content),
        "bytes": sum(size for _, size in content),
        "listing": sha256_of(content),
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _take(entry: Database, origin: Path, staging: Path) -> tuple[str, list[dict[str, Any]]]:
    """From a local archive or folder."""
    if not origin.exists():
        raise UserError(f"--from {origin}: there is no such file or folder; {entry.name}: {entry.by_hand}")
    origin = origin.resolve()
    inside = [origin] if origin.is_file() else sorted(p for p in origin.iterdir() if not p.name.startswith("."))
    if origin.is_dir() and (any(p.is_dir() for p in inside) or not any(is_archive(p) for p in inside)):
        if not listing(origin):
            raise UserError(f"--from {origin}: the folder is empty; {entry.name}: {entry.by_hand}")
        staging.symlink_to(origin)
        return f"linked from {origin}", []
    for path in inside:
        try:
            _place(path, path.name, staging, entry)
        except BadArchive as error:
            _remove(staging)
            raise UserError(
                f"--from {path}: it {error}; get it again, or unpack it yourself and give the folder"
            ) from None
        except UserError:
            _remove(staging)
            raise
    return f"from {origin}", [{"file": p.name, "size": p.stat().st_size, "sha256": sha256(p)} for p in inside]


def _place(path: Path, name: str, staging: Path, entry: Database) -> None:
    """Unpack an archive into ``staging``, or copy any other file there."""
    if name.lower().endswith((".csv", ".txt", ".xlsx", ".mat")):
        staging.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, staging / name)
    else:
        unpack(path, staging, 2 * entry.disk + SLACK)


def _download(entry: Database, raw: Path, staging: Path) -> tuple[str, list[dict[str, Any]]]:
    """From the first source that gives all of its files."""
    folder, checksums = raw / ".downloads" / entry.name, raw.parent / "checksums.json"
    by_hand = f"by hand: see {entry.page}: {entry.by_hand}; then: grmp data fetch {entry.name} --from PATH"
    if not (folder / "terms-shown").exists():
        print(f"{entry.title}\n  terms: {entry.terms}\n  cite: {entry.citation}\n  or {by_hand}")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "terms-shown").touch()
    check_disk([entry], raw)
    reasons = []
    for source in entry.sources:
        print(f"{entry.name}: fetching from the {source.label}", flush=True)
        try:
            return source.label, _from_source(entry, source, folder, staging, checksums)
        except (SourceFailed, BadArchive) as error:
            print(f"{entry.name}: {source.label}: {error}", flush=True)
            reasons.append(f"{source.label}: {error}")
            _remove(staging)
    raise UserError(f"cannot fetch {entry.name} ({'; '.join(reasons)}); {by_hand}")


def _from_source(entry: Database, source: Source, folder: Path, staging: Path, checksums: Path) -> list[dict[str, Any]]:
    paths, records = [], []
    for file in source.files:
        name = Path(urlsplit(file.url).path).name
        target = folder / sha256_of(file.url)[:8] / name  # sources have files of the same name
        limit = file.size if file.exact else 2 * file.size + SLACK
        resumed = target.with_name(name + ".part").exists()
        path = download(file.url, target, limit, file.size if file.exact else None)
        digest = sha256(path)
        if resumed and _complaint(file, path, digest, checksums):
            target.unlink()  # the file may have changed between the two halves: once more from the start
            path = download(file.url, target, limit, file.size if file.exact else None)
            digest = sha256(path)
        if complaint := _complaint(file, path, digest, checksums):
            if not file.url.startswith(HUB):
                target.unlink()
            raise SourceFailed(f"{name} {complaint}")
        paths.append(path)
        records.append({"url": file.url, "size": path.stat().st_size, "sha256": digest})
    for path, file in zip(paths, source.files, strict=True):
        try:
            _place(path, Path(urlsplit(file.url).path).name, staging, entry)
        except BadArchive as error:
            if not file.url.startswith(HUB):
                path.unlink()
            raise BadArchive(f"{path.name} {error}") from None
    _remember(source, records, checksums)
    return records


def _complaint(file: File, path: Path, digest: str, checksums: Path) -> str:
    """Why this is not the file that was meant, or nothing."""
    size = path.stat().st_size
    if file.exact and size != file.size:
        return f"has {size:,} bytes, not {file.size:,}"
    seen = _seen(checksums)
    stated, where = (file.sha256, "the registry") if file.sha256 else (seen.get(file.url, ""), str(checksums))
    if stated and digest != stated:
        return f"has sha256 {digest}, {where} says {stated}: damaged, or published anew; if you trust it, give it with --from"
    return ""


def _seen(checksums: Path) -> dict[str, str]:
    """The first checksums seen: address -> sha256."""
    try:
        seen = read_json(checksums)
        if isinstance(seen, dict) and all(isinstance(digest, str) for digest in seen.values()):
            return seen
    except FileNotFoundError:
        return {}
    except ValueError:
        pass
    raise UserError(f"{checksums} is damaged; take it from git again, or delete it to trust what is downloaded next")


def _remember(source: Source, records: list[dict[str, Any]], checksums: Path) -> None:
    """Record the first checksum seen of files whose publisher states none."""
    seen = _seen(checksums)
    new = {r["url"]: r["sha256"] for f, r in zip(source.files, records, strict=True) if not f.sha256}
    if new.keys() - seen.keys():
        write_json(checksums, new | seen)


def check_disk(entries: list[Database], raw: Path) -> tuple[int, int]:
    """Bytes to download and bytes needed on disk for what is not fetched yet.

    Raises
    ------
    UserError
        If the disk has less than that free.
    """
    missing = [e for e in entries if not (raw / f"{e.name}.json").is_file()]
    down, need = sum(e.download for e in missing), sum(e.download + e.disk for e in missing)
    raw.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(raw).free
    if need > free:
        names = ", ".join(e.name for e in missing)
        raise UserError(
            f"{names}: {need / 1e9:.1f} GB needed at {raw}, {free / 1e9:.1f} GB free; free some space or fetch fewer databases"
        )
    return down, need
