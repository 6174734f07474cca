"""A database as published, in ``raw/<name>``. Its receipt ``raw/<name>.json`` is written last and means "complete".

raw/.downloads/<name>/   archives being downloaded; the next call resumes them
raw/.<name>.partial/     being unpacked; the next call starts it again
"""

import shutil
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from grmp.code import code_digest
from grmp.data import databases, git, labels
from grmp.data.databases._entry import Database, File, Source
from grmp.data.decode import each, load
from grmp.data.download import ARCHIVES, HUB, Remote, SourceFailed, download, on_hub, unpack
from grmp.errors import UserError, reading, some
from grmp.files import listing, read_json, remove, sha256, sha256_of, write_json

SCORES = (".csv", ".txt", ".xlsx", ".mat")  # endings of score files

SLACK = 1_000_000_000  # bytes beyond twice the stated size that a file may have or an archive may unpack to


def receipt(name: str, raw: Path) -> dict[str, Any] | None:
    """The receipt of a fetched database, or None if it is not fetched.

    Raises UserError if the folder has changed since, or is a link to what is gone.
    """
    path, folder = raw / f"{name}.json", raw / name
    if folder.is_symlink() and not folder.exists():
        raise UserError(f"{folder} links to {folder.readlink()}, which is not there; mount it, or delete the link")
    if not path.is_file() or not folder.exists():
        return None
    with reading(path, f"delete it and run: grmp data fetch {name}"):
        found: dict[str, Any] = read_json(path)
        unchanged = found["listing"] == sha256_of(listing(folder))
    if not unchanged:
        remedy = f"delete {path} to accept it, and the folder too to fetch it again"
        raise UserError(f"{folder} has changed since it was fetched; {remedy}")
    return found


def fetch(name: str, raw: Path, origin: Path | None = None, min_rate: float = 0) -> None:
    """Bring the database ``name`` to ``raw/<name>``. Does nothing if it is there and its receipt is valid.

    ``origin`` replaces the download: an archive, a folder of archives and score files, an unpacked folder (linked, not
    copied), or the git directory of a database that is published in git. Below ``min_rate`` bytes per second the next source
    is tried. A simulated database is rendered again when the code that renders it has changed. Raises UserError if no source
    works; the line gives the reason of each and how to get the database by hand.
    """
    entry = databases.get(name)
    if entry.kind == "simulated" and origin is not None:
        raise UserError(f"--from {origin}: {name} is rendered on this machine; leave out --from")
    folder, staging, path = raw / name, raw / f".{name}.partial", raw / f"{name}.json"
    code = code_digest("grmp.data.simulated.databases") if entry.kind == "simulated" else ""
    found = receipt(name, raw)
    if found and found.get("code", "") == code:
        if origin is not None and not found["source"].endswith(f"from {origin.resolve()}"):
            raise UserError(f"{name} is here already, {found['source']}; to replace it, delete {path} and {folder}")
        print(f"{name}: already fetched, see {path}")
        return
    raw.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    remove(staging)
    files: list[dict[str, Any]] = []
    if entry.kind == "simulated":
        from grmp.data.simulated.databases import render

        render(name, staging)
        source = "rendered here"
    elif folder.exists() and origin is None:
        print(f"{name}: {folder} has no receipt; accepted as it is")
        source, staging = "found in place", folder
    elif folder.exists() and not folder.is_symlink():
        raise UserError(f"{folder} is in the way; move it, or run without --from to accept it as it is")
    elif origin is not None:
        try:
            source, files = _local(entry, origin, raw, staging)
            labels.read(entry, staging)
        except UserError as error:
            remove(staging)
            raise UserError(str(error).replace(str(staging), str(origin))) from None
    else:
        source, files = _first_source(entry, raw, staging, min_rate)
    content = listing(staging)
    facts = {
        "database": name,
        "source": source,
        "files": files,
        "entries": len(content),
        "bytes": sum(size for _, size in content),
        "listing": sha256_of(content),
        "code": code,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if staging != folder:
        remove(folder)
    write_json(path, facts)  # without the folder it says nothing
    if staging != folder:
        staging.replace(folder)
    remove(raw / ".downloads" / name)


def _local(entry: Database, origin: Path, raw: Path, staging: Path) -> tuple[str, list[dict[str, Any]]]:
    """From a local archive or folder."""
    if not origin.exists():
        raise UserError(f"--from {origin} not found; {entry.name}: {entry.by_hand}")
    origin = origin.resolve()
    if (origin / "objects").is_dir() and (origin / "HEAD").is_file():  # a git directory without a work tree
        found = [(s.tree, f.url) for s in entry.sources for f in s.files if f.url.startswith(git.PREFIX)]
        if not found:
            raise UserError(f"--from {origin}: {entry.name} is not published in git; {entry.by_hand}")
        ((tree, url),) = found
        try:
            git.checkout(url, staging, raw / ".downloads" / entry.name / "git", local=origin)
            _check_tree(staging, tree)
        except SourceFailed as error:
            raise UserError(f"--from {origin}: it {error}; clone it again") from None
        return f"from {origin}", [{"url": url}]
    inside = [origin] if origin.is_file() else sorted(p for p in origin.iterdir() if not p.name.startswith("."))
    archives = [p for p in inside if p.is_file() and p.name.lower().endswith(ARCHIVES)]
    if origin.is_dir() and (not archives or any(p.is_dir() for p in inside)):
        if not listing(origin):
            raise UserError(f"--from {origin}: the folder is empty; {entry.name}: {entry.by_hand}")
        staging.symlink_to(origin)
        return f"linked from {origin}", []
    inside = [path for path in inside if path == origin or path.name.lower().endswith((*ARCHIVES, *SCORES))]
    for path in inside:
        try:
            _place(path, staging, entry)
        except SourceFailed as error:
            remedy = "get it again, or unpack it yourself and give the folder"
            raise UserError(f"--from {path}: it {error}; {remedy}") from None
    return f"from {origin}", [{"file": p.name, "size": p.stat().st_size, "sha256": sha256(p)} for p in inside]


def _place(path: Path, staging: Path, entry: Database) -> None:
    """Unpack an archive into ``staging``, or copy any other file there."""
    if path.name.lower().endswith(SCORES):
        staging.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, staging / path.name)
    else:
        unpack(path, staging, 2 * entry.disk + SLACK)


def _first_source(entry: Database, raw: Path, staging: Path, min_rate: float) -> tuple[str, list[dict[str, Any]]]:
    """From the first source that delivers all of its files."""
    by_hand = f"by hand: see {entry.page}: {entry.by_hand}; then: grmp data fetch {entry.name} --from PATH"
    print(f"{entry.title}\n  terms: {entry.terms}\n  cite: {entry.citation}\n  or {by_hand}")
    reasons, checksums = [], raw.parent / "checksums.json"
    for source in entry.sources:
        print(f"{entry.name}: downloading from the {source.label}", flush=True)
        last = source is entry.sources[-1]
        try:
            files = _download(entry, source, raw, staging, 0 if last else min_rate)
            try:
                _check(entry, staging, last)
            except SourceFailed:
                remove(raw / ".downloads" / entry.name)  # complete, but useless; the next source needs the space
                raise
            unpinned = [] if source.tree else [r for f, r in zip(source.files, files, strict=True) if not f.sha256]
            if unpinned:  # read again: another database may have been fetched meanwhile
                write_json(checksums, {r["url"]: r["sha256"] for r in unpinned} | _seen(checksums))
            return source.label, files
        except SourceFailed as error:
            print(f"{entry.name}: {source.label}: {error}", flush=True)
            reasons.append(f"{source.label}: {error}")
            remove(staging)
    raise UserError(f"cannot fetch {entry.name} ({'; '.join(reasons)}); {by_hand}")


def _download(entry: Database, source: Source, raw: Path, staging: Path, min_rate: float) -> list[dict[str, Any]]:
    """All files of a source, verified and unpacked."""
    records: list[dict[str, Any]] = []
    seen = _seen(raw.parent / "checksums.json")
    for file in source.files:
        if file.url.startswith(git.PREFIX):
            git.checkout(file.url, staging, raw / ".downloads" / entry.name / "git", min_rate)
            records.append({"url": file.url})
            continue
        name = Path(urlsplit(file.url).path).name
        target = raw / ".downloads" / entry.name / sha256_of(file.url)[:8] / name  # names repeat between sources
        stated = file.sha256 or seen.get(file.url, "")
        digest = _verified(file, target, stated, min_rate)
        try:
            _place(target, staging, entry)
        except SourceFailed as error:
            target.unlink()
            raise SourceFailed(f"{name} {error}") from None
        records.append({"url": file.url, "size": target.stat().st_size, "sha256": digest})
    if source.tree:
        _check_tree(staging, source.tree)
    return records


def _check(entry: Database, staging: Path, last: bool) -> None:
    """Whether ``prepare`` will accept what a source delivered; if not, the next one is tried.

    Corrupt images of the ``last`` source are left to ``prepare``, which can do without them (``--allow-missing``).
    """
    try:
        names = labels.read(entry, staging)["image"].tolist()
    except UserError as error:
        raise SourceFailed(str(error)) from None
    paths = labels.locate(names, staging, entry.prefer)
    if missing := paths.count(None):
        raise SourceFailed(f"{missing} of {len(names)} images are missing")
    if small := labels.resized(entry, paths):
        raise SourceFailed(small)
    checked = [] if last else [path for path in paths if path]
    _, corrupt = each(checked, lambda path: load(path, displayed=False).size, "decoding")
    if corrupt:
        named = some([f"{path.name} ({why})" for path, why in corrupt.items()])
        raise SourceFailed(f"{len(corrupt)} of {len(names)} images are corrupt: {named}")


def _check_tree(folder: Path, tree: str) -> None:
    """Compare the content, perhaps in a single folder as archives of a repository have it, with git's id."""
    inside = list(folder.iterdir())
    found = git.tree_id(inside[0] if len(inside) == 1 and inside[0].is_dir() else folder)
    if found != tree:
        raise SourceFailed(f"has other content (git tree {found}) than published ({tree})")


def _verified(file: File, target: Path, stated: str, min_rate: float) -> str:
    """Download a file; its sha256."""
    remote = on_hub(file.url) if file.url.startswith(HUB) else Remote(file.url)
    digest, wanted = remote.sha256, stated or remote.sha256
    if not digest or digest == wanted:
        download(remote, target, remote.size or 2 * file.size + SLACK, min_rate)
        digest = sha256(target)
    if not wanted or digest == wanted:
        return digest
    target.unlink(missing_ok=True)
    why = "corrupt, or published anew; if you trust it, use --from"
    raise SourceFailed(f"{target.name} has sha256 {digest}, expected {wanted}: {why}")


def _seen(checksums: Path) -> dict[str, str]:
    """The first checksums seen of files whose publisher states none: address -> sha256."""
    with reading(checksums, "restore it from git, or delete it to trust the next downloads"):
        return dict(read_json(checksums)) if checksums.is_file() else {}


def check_disk(entries: list[Database], raw: Path) -> tuple[int, int]:
    """Bytes to download, and bytes needed on disk beside what interrupted calls left, for what is not fetched yet.

    The archives of a database are deleted before the next one is downloaded. Raises UserError if the disk has less free
    space than that.
    """
    missing = [e for e in entries if not (raw / e.name).exists()]
    down = sum(e.download for e in missing)
    begun = [folder for e in missing for folder in (raw / ".downloads" / e.name, raw / f".{e.name}.partial")]
    need = sum(e.disk for e in missing) + max((e.download for e in missing), default=0)
    need -= sum(size for folder in begun for _, size in listing(folder))
    raw.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(raw).free
    if need > free:
        space = f"needs {need / 1e9:.1f} GB at {raw}, {free / 1e9:.1f} GB free"
        raise UserError(f"{', '.join(e.name for e in missing)}: {space}; free some or fetch fewer databases")
    return down, need
