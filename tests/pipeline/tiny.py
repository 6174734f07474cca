"""A fresh clone with a tiny world in it: every stage of the pipeline in a minute or two."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import yaml

from grmp.params import read as read_params
from tests.conftest import ROOT
from tests.worlds import merge

SMALLER = {
    "data": {"databases": ["sim_syn1", "sim_wild"]},
    "splits": {"count": 2},
    "pretrain": {"databases": ["sim_syn1"], "epochs": 1, "support_batch": 60, "query_batch": 16, "seeds": 1},
    "adapt": {"views": 1},
    "protocols": {name: {"adapt": {"epochs": 2}} for name in ("sound", "published")},
    "run": {
        "few_shot": {"databases": ["sim_wild"], "methods": ["zero_shot", "random_prompts", "grmp"], "shots": [10]},
        "ablation": {"databases": ["sim_wild"], "methods": ["random_qgr"], "shots": [10]},
        "full": {"methods": ["ridge"], "shots": ["20pct"]},
        "cross": {"databases": ["sim_syn1_to_sim_wild"], "methods": ["ridge"], "shots": [10]},
    },
    "inner_curves": {"databases": ["sim_syn1"], "counts": [0, 1]},
    "continual": {"splits": 1},
    "attribution": {"methods": ["grmp"], "shots": 10, "images": 1},
    "evaluate": {"resamples": 200},
}
CONTENTS = {
    "sim_syn1": ("24", "2"),
    "sim_wild": ("500", "30"),
}  # of the simulated databases, as they are and in the clone

CHEAPER = (  # of the clone's code: what takes half of the time of its stage
    ("grmp/report/site.py", "= PACKAGES)", '= ("params",))'),
    ("grmp/experiments/attribution.py", "STEPS = 32", "STEPS = 2"),
)


def clone(place: Path, notebooks: list[str]) -> Path:
    """The tiny world's folder in a clone at ``place``; nothing is run."""
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(place)], check=True)
    code = place / "grmp/data/simulated/databases.py"
    text = code.read_text()
    for name, (many, few) in CONTENTS.items():
        assert f'"{name}": _Design({many}' in text
        text = text.replace(f'"{name}": _Design({many}', f'"{name}": _Design({few}')
    code.write_text(text)
    for file, whole, part in CHEAPER:
        text = (place / file).read_text()
        assert whole in text
        (place / file).write_text(text.replace(whole, part))
    folder = place / "tiny"
    folder.mkdir()
    (folder / "dvc.yaml").symlink_to("../dvc.yaml")
    raw = read_params(ROOT / "demo/params.yaml")
    merge(raw, SMALLER)
    raw["report"]["notebooks"] = notebooks
    (folder / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    return folder


def environment(folder: Path) -> dict[str, str]:
    """For commands in the tiny world: the clone's code comes first on the path, and Python leaves its bytecode beside it."""
    found = os.environ | {"PYTHONPATH": str(folder.parent), "DVC_NO_ANALYTICS": "1", "COLUMNS": "200"}
    found.pop("PYTHONDONTWRITEBYTECODE", None)
    return found | {"PATH": f"{ROOT / '.venv/bin'}{os.pathsep}{found['PATH']}"}


@contextmanager
def one_core() -> Iterator[None]:
    """For commands started in it: each process that a stage starts beside its first imports everything again."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def called(folder: Path, *command: str) -> str:
    """Output of a command in the tiny world."""
    with one_core():
        done = subprocess.run(
            [*command], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
        )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
    return done.stdout
