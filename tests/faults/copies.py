"""Copies of a world, and what of its results must be the same whatever happened on the way."""

import json
import shutil
from pathlib import Path
from typing import Any

from grmp import params
from grmp.experiments.run import run
from grmp.params import Params

TABLES = ("scores.csv", "summary.csv", "pairs.csv", "distortions.csv", "excluded.csv", "metrics.json")


def copy(params_file: Path, place: Path) -> Path:
    """The same world elsewhere; returns its params.yaml."""
    shutil.copytree(params_file.parent, place / "w", symlinks=True)
    return place / "w" / params_file.name


def computed(params_file: Path) -> Params:
    """Every run of a world, one after the other in this process; returns the settings."""
    loaded = params.load(params_file)
    for key in loaded.run.run_keys():
        run(loaded, params_file.parent, key, progress=False)
    return loaded


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


def strays(folder: Path) -> list[Path]:
    """What a killed writer left: files or folders that are not whole."""
    return [p for p in folder.rglob(".*") if p.suffix in (".partial", ".old")]
