"""The promises of the repository: one set of dependencies, one pipeline, imports in one direction, documented sizes."""

import re
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter

import numpy as np
import pandas as pd
import pytest
import yaml

from grmp import params
from grmp.code import imported, sources
from grmp.data.databases import get
from grmp.data.decode import side
from tests.conftest import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
PINNED = PROJECT["dependencies"] + EXTRAS["pipeline"] + EXTRAS["dev"]


def test_conda_users_get_the_same_set():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    (pip,) = (d["pip"] for d in environment["dependencies"] if isinstance(d, dict))
    assert sorted(pip) == sorted(PINNED)


def test_every_dependency_is_pinned_and_the_lock_agrees():
    def normal(name):
        return re.sub(r"[-_.]+", "-", name).lower()

    lock = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    lock = {normal(n): v for n, v in lock.items()}
    for requirement in PINNED:
        name, version = requirement.split("==")
        assert lock[normal(name)] == version


@pytest.mark.parametrize("world", ["demo", *(f"real/{name}" for name in ("livec", "livec-rated", "biq2021", "cross"))])
def test_one_pipeline_for_every_world(world):
    link = ROOT / world / "dvc.yaml"
    assert link.is_symlink()
    assert link.resolve() == ROOT / "dvc.yaml"


PACKAGES = ("params", "data", "clip", "pretrain", "finetune", "methods", "experiments", "report", "use", "cli")


def level(module: str) -> int:
    """0 for a flat module, then the packages in the order in which they may import each other; `grmp` itself is last."""
    name = (*module.split("."), "cli")[1]
    return PACKAGES.index(name) + 1 if name in PACKAGES else 0


def test_imports_point_one_way():
    upward = [(m, other) for m, text in sources().items() for other in imported(text) if level(other) > level(m)]
    assert upward == []


def test_imports_have_no_cycle():
    graph = {m: {other for other in imported(text) if other != m} for m, text in sources().items()}
    graph |= {m: set() for others in list(graph.values()) for m in others - set(graph)}
    TopologicalSorter(graph).prepare()  # raises CycleError, with the cycle


def test_few_modules_are_flat():
    assert len([path for path in (ROOT / "grmp").glob("*.py") if path.name != "__init__.py"]) <= 10


def test_documented_sizes_are_those_of_the_registry():
    """Of docs/requirements.md, to which every other page links."""
    settings = params.load(ROOT / "params.yaml")
    databases = list(map(get, settings.data.databases))
    archives, unpacked = sum(d.download for d in databases) / 1e9, sum(d.disk for d in databases) / 1e9
    arrays = sum(d.scores.count * 3 * side(view, 244) ** 2 for d in databases for view in settings.views(d.name)) / 1e9
    text = (ROOT / "docs/requirements.md").read_text()
    assert f"{archives:.1f} GB of archives" in text
    assert f"{unpacked:.1f} GB unpacked" in text
    assert f"{arrays:.1f} GB of prepared arrays" in text
    assert f"{unpacked + arrays + max(d.download for d in databases) / 1e9:.0f} GB at most" in text


def test_intervals_in_the_study_are_those_of_the_results():
    number = r"[+-]?\d\.\d{3,4}"
    triple = re.compile(rf"({number})\**\s*\[({number}),\s*({number})\]")

    def found(text):
        """(N, 3): estimate and interval."""
        return np.array([[float(x) for x in m] for m in triple.findall(text.replace("−", "-"))])

    results = ROOT / "results/real"
    tables = found("\n".join(path.read_text() for path in sorted(results.rglob("*.md"))))
    pairs = [pd.read_csv(path)[["mean", "low", "high"]].to_numpy() for path in sorted(results.glob("*/pairs.csv"))]
    known, study = np.concatenate([tables, *pairs]), found((ROOT / "docs/study.md").read_text())
    known = np.concatenate([known, -known[:, [0, 2, 1]]])  # a loss is a negative gain
    assert len(study) > 150
    wrong = [row.tolist() for row in study if np.abs(known - row).max(axis=1).min() > 0.00051]
    assert not wrong


@pytest.mark.pipeline
def test_status_of_a_pipeline_folder_names_no_other():
    """With a target; without one DVC looks at every pipeline of the repository."""
    command = [sys.executable, "-m", "dvc", "status", "dvc.yaml"]
    status = subprocess.run(command, cwd=ROOT / "demo", capture_output=True, text=True, check=True).stdout
    assert not re.search(r"\.\./(real/(?!params)|dvc\.yaml|results|data/)", status)


def test_make_help_lists_every_target():
    text = (ROOT / "Makefile").read_text()
    targets = set(re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split())
    listed = subprocess.run(
        ["make", "--no-print-directory", "help"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in listed.splitlines()} == targets


def test_no_path_or_host_of_a_private_machine():
    names = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    texts = (".py", ".md", ".yaml", ".yml", ".toml", ".txt", ".lock", ".ipynb", ".html")
    pattern = re.compile("/" + "work/|/" + "root/|file://" + "/opt")
    for name in names:
        if name.endswith(texts) and name != "tests/test_project.py" and (ROOT / name).is_file():
            assert not pattern.search((ROOT / name).read_text()), name
