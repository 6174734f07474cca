"""Copies of a world, and what of its results must be the same whatever happened on the way."""

import json
import shutil
from pathlib import Path
from typing import Any

TABLES = ("scores.csv", "summary.csv", "pairs.csv", "distortions.csv", "excluded.csv", "metrics.json")


def copy(params_file: Path, place: Path) -> Path:
    """The same world elsewhere; returns its params.yaml."""
    shutil.copytree(params_file.parent, place / "w", symlinks=True)
    return place / "w" / params_file.name


def records(world: Path) -> dict[str, Any]:
    """Every record, without what a clock tells."""
    found: dict[str, Any] = {}
    for path in sorted((world / "results/runs").rglob("*")):
        if path.is_file():
            content: Any = path.read_bytes()
            if path.name == "run.json":
                content = {k: v for k, v in json.loads(content).items() if k not in ("seconds", "peak_bytes")}
            found[path.relative_to(world).as_posix()] = content
    return found


def tables(world: Path) -> dict[str, bytes]:
    """The tables that are made from the records."""
    return {name: (world / "results" / name).read_bytes() for name in TABLES}
