"""A kind of method is one file and a gradient rule one function: both are added to a copy of the code and run there."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import worlds
from tests.conftest import ROOT

KIND = '''"""Every test image gets the mean of the labels plus noise."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import numpy as np

from grmp.params import Method

if TYPE_CHECKING:
    from grmp.methods.context import RunContext, Splitwise


class MeanLabel(Method):
    """How much noise."""

    reads = ("adapt.seed",)

    kind: Literal["mean_label"]
    noise: float


def prepare(ctx: RunContext, method: MeanLabel) -> Splitwise:
    """No training."""
    from grmp.finetune.types import SplitResult
    from grmp.methods.context import each

    def one(split: int) -> SplitResult:
        rng = np.random.default_rng([ctx.params.adapt.seed, split])
        mean = ctx.quality[ctx.splits.train(split, ctx.shots)].mean()
        return SplitResult(mean + method.noise * rng.normal(size=len(ctx.tested.test(split))))

    return each(one)
'''
RULE = """

def _half(g_d: Tensor, g_g: Tensor, strength: float) -> Tensor:
    return g_d / 2


RULES["half"] = _half
"""
ENTRIES = {
    "mean_label": {"kind": "mean_label", "label": "mean label", "noise": 0.1},
    "half": {
        "kind": "tune",
        "label": "half the task gradient",
        "prompts": "random",
        "train": ["context", "blocks"],
        "rule": "half",
        "strength": 1.0,
    },
}


@pytest.fixture
def code(tmp_path) -> Path:
    """A copy of the package."""
    shutil.copytree(ROOT / "grmp", tmp_path / "code/grmp", ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path / "code"


def grmp(code: Path, root: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(code), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        ["grmp", *arguments], cwd=root, env=environment, capture_output=True, text=True, check=False, timeout=240
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout


def to_compute(code: Path, root: Path) -> list[str]:
    """Methods whose record is not up to date."""
    return re.findall(r"^sound-target-(\w+)-6\b", grmp(code, root, "sweep", "--dry"), re.MULTILINE)


def ask_for(file: Path, name: str) -> None:
    raw = yaml.safe_load(file.read_text())
    raw["methods"][name] = ENTRIES[name]
    raw["run"]["few_shot"]["methods"].append(name)
    file.write_text(yaml.safe_dump(raw, sort_keys=False))


@pytest.mark.timeout(600)
def test_a_toy_kind_and_a_toy_rule_run_and_leave_other_records_alone(code, tmp_path):
    methods = ["ridge", "random_prompts"]
    file = worlds.build(tmp_path / "root", run={"few_shot": {"methods": methods, "shots": [6]}})
    grmp(code, file.parent, "sweep", "--workers", "1")
    (code / "grmp/methods/mean_label.py").write_text(KIND)
    ask_for(file, "mean_label")
    assert to_compute(code, file.parent) == ["mean_label"]
    with (code / "grmp/finetune/gradient_rules.py").open("a") as rules:
        rules.write(RULE)
    ask_for(file, "half")
    assert to_compute(code, file.parent) == ["random_prompts", "mean_label", "half"]  # fine-tuning reads all rules
    grmp(code, file.parent, "sweep", "--workers", "1")
    records = {m: (file.parent / f"results/runs/sound/target/{m}/6/predictions.csv").read_bytes() for m in ENTRIES}
    assert len(set(records.values())) == 2


def test_an_unknown_kind_or_rule_is_named(code, tmp_path):
    file = worlds.build(tmp_path / "root")
    raw = yaml.safe_load(file.read_text())
    raw["methods"]["random_prompts"]["rule"] = "halff"
    file.write_text(yaml.safe_dump(raw))
    run = ["grmp", "run", "target", "random_prompts", "6"]
    environment = os.environ | {"PYTHONPATH": str(code), "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(run, cwd=file.parent, env=environment, capture_output=True, text=True, check=False)
    assert "error: rule 'halff' is not defined in gradient_rules.py; known: none, published" in done.stderr
    raw["methods"]["coop"]["kind"] = "context"
    file.write_text(yaml.safe_dump(raw))
    done = subprocess.run(run, cwd=file.parent, env=environment, capture_output=True, text=True, check=False)
    assert "methods.coop.kind: 'context' is not a kind of method" in done.stderr
