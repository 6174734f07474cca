"""Databases that live in a git repository: checked out at a pinned commit, verified against git's own ids."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

from grmp.data.download import SourceFailed

PREFIX = "git+"  # of an address: git+<url>@<commit>


def checkout(address: str, folder: Path, cache: Path, min_rate: float = 0, local: Path | None = None) -> None:
    """Write the files of the commit that ``address`` names into ``folder``; git's own progress is shown in a terminal.

    They are downloaded to the git directory ``cache``, at ``min_rate`` bytes per second or more over every minute, unless the
    git directory ``local``, perhaps another user's, has the commit already. Raises SourceFailed if git is not installed, or
    the repository cannot be read or does not have the commit.
    """
    url, _, commit = address.removeprefix(PREFIX).rpartition("@")
    slow = ("-c", f"http.lowSpeedLimit={min_rate:.0f}", "-c", "http.lowSpeedTime=60") if min_rate else ()
    folder.mkdir(parents=True)
    for stray in cache.glob("*.lock"):  # of a git that was killed; the caller holds the lock of the database
        stray.unlink()
    environment = os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    if local:
        environment["GIT_ALTERNATE_OBJECT_DIRECTORIES"] = str(local / "objects")
    shown = ["--progress"] if sys.stderr.isatty() else []
    as_stored = ("-c", "core.autocrlf=false", f"--work-tree={folder}")
    commands = [
        ["init", "--quiet", "--bare", str(cache)],
        [*as_stored, "checkout", *shown, "--force", commit, "--", "."],
    ]
    if not local:
        commands.insert(1, [*slow, "fetch", *shown, "--depth=1", url, commit])
    for words in commands:
        _git(f"--git-dir={cache}", *words, environment=environment, shown=bool(shown))


def _git(*words: str, environment: dict[str, str], shown: bool) -> None:
    said = b""
    try:
        with subprocess.Popen(["git", *words], env=environment, stderr=subprocess.PIPE, bufsize=0) as process:
            assert process.stderr
            while part := process.stderr.read(4096):
                said = said[-4096:] + part
                if shown:
                    print(part.decode(errors="replace"), end="", file=sys.stderr, flush=True)
    except FileNotFoundError:
        raise SourceFailed("git is not installed") from None
    if process.returncode:
        lines = said.decode(errors="replace").strip().splitlines() or ["no reason given"]
        raise SourceFailed(f"cannot be read (git: {lines[-1][:200]})")


def tree_id(folder: Path) -> str:
    """git's id of a folder's content: sha1 over names, modes and contents of everything below."""
    entries = []
    for path in folder.iterdir():
        if path.is_dir():
            entries.append((path.name.encode() + b"/", b"40000", bytes.fromhex(tree_id(path))))
        else:
            content = path.read_bytes()
            mode = b"100755" if path.stat().st_mode & 0o100 else b"100644"
            entries.append((path.name.encode(), mode, hashlib.sha1(b"blob %d\0" % len(content) + content).digest()))
    body = b"".join(mode + b" " + name.rstrip(b"/") + b"\0" + digest for name, mode, digest in sorted(entries))
    return hashlib.sha1(b"tree %d\0" % len(body) + body).hexdigest()
