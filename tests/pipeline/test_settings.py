"""What an edit of params.yaml costs: DVC compares the merged settings, wherever a value is written."""

import contextlib
import subprocess
from pathlib import Path

import pytest
import yaml
from dvc.repo import Repo

from tests.conftest import ROOT

pytestmark = pytest.mark.filterwarnings("ignore:_NoneStep.value:DeprecationWarning")  # pygtrie, which DVC uses
STAGES = ("fetch", "prepare", "backbone", "pretrain", "sweep", "collect")


def ran(folder: Path) -> set[str]:
    """The kinds of stages that ``dvc repro`` runs, called in this process."""
    with contextlib.chdir(folder), Repo() as repo:
        return {stage.addressing.split("@")[0] for stage in repo.reproduce()}


def edit(path: Path, group: str, **values) -> None:
    raw = yaml.safe_load(path.read_text())
    raw[group] = raw.get(group, {}) | values
    path.write_text(yaml.safe_dump(raw, sort_keys=False))


@pytest.fixture
def child(tmp_path) -> Path:
    """demo/ with the real settings and first stage, and the parameters of other stages with commands that cost nothing."""
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    Repo.init(str(tmp_path)).close()
    real = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    stages = {"settings": real["settings"]}
    for name in STAGES:
        stages[name] = {"cmd": f"echo run >> {name}", "outs": [{name: {"cache": False, "persist": True}}]}
        stages[name]["params"] = [
            {file: [k for k in keys if "item" not in k] for file, keys in p.items()}
            for p in real[name].get("params", [])
        ]
    (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
    (tmp_path / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    (tmp_path / "real").mkdir()
    (tmp_path / "real/params.yaml").write_text((ROOT / "real/params.yaml").read_text())
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "dvc.yaml").symlink_to("../dvc.yaml")
    (folder / "params.yaml").write_text((ROOT / "demo/params.yaml").read_text())
    assert ran(folder) == {"settings", *STAGES}
    return folder


def test_an_edit_reaches_what_depends_on_its_value(child):
    parent = child.parent / "params.yaml"
    edit(child / "params.yaml", "adapt", views=5)
    assert ran(child) == {"settings", "sweep"}
    edit(parent, "adapt", momentum=0.5)  # inherited by the child
    assert ran(child) == {"settings", "sweep"}
    edit(parent, "adapt", learning_rate=0.9)  # which the child overrides
    assert ran(child) == {"settings"}
    methods = yaml.safe_load(parent.read_text())["methods"]
    edit(parent, "methods", grmp=methods["grmp"] | {"strength": 3.0})
    assert ran(child) == {"settings", "sweep", "collect"}
    assert "lambda_5" in yaml.safe_load((child / "results/params.yaml").read_text())["run"]["ablation"]["methods"]
    raw = yaml.safe_load(parent.read_text())
    raw["protocols"] = dict(reversed(raw["protocols"].items()))  # the first is the default
    parent.write_text(yaml.safe_dump(raw, sort_keys=False))
    assert ran(child) == {"settings", "sweep", "collect"}  # the ablations are of the default, too
    edit(child / "params.yaml", "splits", count=4)
    assert ran(child) == {"settings", "prepare", "sweep"}
    assert ran(child) == set()
