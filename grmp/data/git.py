"""Databases that live in a git repository: checked out at a pinned commit; git verifies every object that it fetches."""

import os
import subprocess
from pathlib import Path

from grmp.data.download import SourceFailed

PREFIX = "git+"  # of an address: git+<url>@<commit>


def is_repository(path: Path) -> bool:
    """Whether ``path`` is a git directory without a work tree."""
    return (path / "objects").is_dir() and (path / "HEAD").is_file()


def checkout(address: str, folder: Path, cache: Path) -> None:
    """Write the files of the commit that ``address`` names into ``folder``; ``cache`` is a git directory for the download.

    Raises SourceFailed if git is not installed, or the repository cannot be read, sends less than 1 kB/s or does not have
    the commit.
    """
    url, _, commit = address.removeprefix(PREFIX).rpartition("@")
    folder.mkdir(parents=True)
    slow = ("-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60")
    for words in (
        ("init", "--quiet", "--bare", str(cache)),
        (*slow, f"--git-dir={cache}", "fetch", "--depth=1", url, commit),
        (f"--git-dir={cache}", f"--work-tree={folder}", "checkout", "--force", commit, "--", "."),
    ):
        try:
            done = subprocess.run(
                ["git", *words], env=os.environ | {"GIT_TERMINAL_PROMPT": "0"}, capture_output=True, check=False
            )
        except FileNotFoundError:
            raise SourceFailed("git is not installed") from None
        if done.returncode:
            reason = done.stderr.decode(errors="replace").strip().splitlines() or ["no reason given"]
            raise SourceFailed(f"git: {reason[-1][:200]}")
