"""Where a table or figure came from: stage, settings, records, code, versions. The same run gives the same line."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

from grmp.files import sha256, sha256_of
from grmp.report.results import Results

PACKAGES = ("grmp", "numpy", "scipy", "pandas", "matplotlib")


def provenance(results: Results, notebook: str) -> str:
    """One line. The hashes are the first twelve figures of sha256; the commit is the last one that touched the code."""
    scores = results.folder / "scores.csv"
    versions = ", ".join(f"{name} {version(name)}" for name in PACKAGES)
    parts = [
        f"notebook {notebook}",
        f"settings {sha256_of(results.params.model_dump())[:12]}",
        f"scores {sha256(scores)[:12]}" if scores.is_file() else "no scores yet",
        f"code {commit(results.root / results.params.paths.code)}",
        f"Python {platform.python_version()}, {versions}",
    ]
    return " · ".join(parts)


def commit(code: Path) -> str:
    """The last commit that touched the library or the notebooks, "+" if they differ from it, or "not in git"."""
    try:
        last = _git(code, "log", "-1", "--format=%h", "--abbrev=10", "--", "grmp", "notebooks").strip()
        changed = _git(code, "status", "--porcelain", "--", "grmp", "notebooks").strip()
    except (OSError, subprocess.SubprocessError):
        return "not in git"
    return (last + ("+" if changed else "")) or "not in git"


def _git(folder: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True, timeout=20)
    return done.stdout
