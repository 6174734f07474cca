"""dvc.yaml: code dependencies follow the imports, and every command and stage that a text names exists."""

import ast
import re
import subprocess

import pytest
import typer
import yaml

from grmp.cli import app
from grmp.code import closure, imported, sources
from grmp.data.cli import app as data
from tests.conftest import ROOT

STAGES = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
LOADED_BY_NAME = {"grmp.methods", "grmp.data.databases"}  # packages whose modules are found with pkgutil
COMMANDS = {**typer.main.get_command(app).commands, "data": typer.main.get_command(data)}


def imports_of(command: str) -> list[str]:
    """Modules that the function behind a command of grmp/cli.py (or grmp/data/cli.py) imports."""
    words = command.split()[1:]
    in_data = words[0] == "data"
    found = COMMANDS["data"].commands[words[1]] if in_data else COMMANDS[words[0]]
    name = found.callback.__wrapped__.__name__ if hasattr(found.callback, "__wrapped__") else found.callback.__name__
    source = (ROOT / ("grmp/data/cli.py" if in_data else "grmp/cli.py")).read_text()
    (function,) = [n for n in ast.parse(source).body if isinstance(n, ast.FunctionDef) and n.name == name]
    return list(imported(ast.unparse(function).encode()))


@pytest.mark.parametrize("name", [name for name in STAGES if name not in {"settings", "site"}])
def test_code_dependencies_are_the_packages_that_the_command_imports(name):
    modules = imports_of(STAGES[name]["cmd"])
    if name == "notebooks":
        modules += [m for path in (ROOT / "notebooks").glob("*.py") for m in imported(path.read_bytes())]
    reached = set(closure(*modules))
    by_name = LOADED_BY_NAME & reached
    reached |= set(closure(*(m for m in sources() if m.rpartition(".")[0] in by_name)))
    wanted = set()
    for module in reached - {"grmp", "grmp.cli"}:
        place = "/".join(module.split(".")[:2])
        wanted.add(place if (ROOT / place).is_dir() else f"{place}.py")
    prefix = "${paths.code}/"
    written = {d.removeprefix(prefix) for d in STAGES[name]["deps"] if d.startswith(f"{prefix}grmp")}
    assert written == wanted


TEXTS = subprocess.run(
    ["git", "ls-files", "grmp/*.py", "notebooks/*.py", "*.md", "Makefile", "*.yaml"],
    cwd=ROOT,
    text=True,
    capture_output=True,
    check=True,
).stdout.split()


@pytest.mark.parametrize("file", [f for f in TEXTS if not f.startswith(("results/demo", "results/real", "CHANGELOG"))])
def test_every_command_and_stage_that_a_text_names_exists(file):
    text = (ROOT / file).read_text()
    commands = set(re.findall(r"(?<!from )\bgrmp ([a-z][a-z-]*)", text))
    assert commands <= set(COMMANDS) | {"zero", "authors"}
    assert set(re.findall(r"\bgrmp data ([a-z]+)", text)) <= set(COMMANDS["data"].commands)
    named = re.findall(r"dvc repro(?: -\w+)* ([a-z_]+)(?=[@`\"'.,;) ]|$)", text, re.M)
    if file.startswith(("notebooks", "grmp/report")):
        named += [
            stage
            for words in re.findall(r'stage=f?"([^"]+)"', text)
            for stage in re.findall(r"[a-z_]+(?=@| |$)", words)
        ]
    assert set(named) <= set(STAGES) | {"at", "in", "left"}  # prose
