"""A kind of method is one file and a gradient rule one function: both are added to a copy of the code and run there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from grmp import params
from grmp.experiments.run import run
from tests import worlds
from tests.conftest import ROOT

KIND = re.search(r"```python\n(.*?)```", (ROOT / "docs/methods.md").read_text(), re.S)[1]  # the example of the page
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


COMPUTE = """
import sys
from pathlib import Path
from grmp import params
from grmp.experiments.run import run
from grmp.experiments.sweep import outdated
file = Path("params.yaml").resolve()
loaded = params.load(file)
keys = outdated(loaded, file.parent)
print(*(key.method for key in keys))
for key in keys:
    if key.method in sys.argv[1:]:
        run(loaded, file.parent, key, progress=False)
"""


def to_compute(code: Path, root: Path, *computed: str) -> list[str]:
    """Methods whose record is not up to date under this code, which then computes those that are named."""
    environment = os.environ | {"PYTHONPATH": str(code), "CUDA_VISIBLE_DEVICES": ""}
    command = [sys.executable, "-c", COMPUTE, *computed]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return done.stdout.split("\n", 1)[0].split()


def ask_for(file: Path, name: str) -> None:
    raw = yaml.safe_load(file.read_text())
    raw["methods"][name] = ENTRIES[name]
    raw["run"]["few_shot"]["methods"].append(name)
    file.write_text(yaml.safe_dump(raw, sort_keys=False))


def test_a_toy_kind_and_a_toy_rule_run_and_leave_other_records_alone(tmp_path):
    methods = ["ridge", "random_prompts"]
    file = worlds.build(tmp_path / "root", run={"few_shot": {"methods": methods, "shots": [6]}})
    loaded = params.load(file)
    for key in loaded.run.run_keys():
        run(loaded, file.parent, key, progress=False)
    code = tmp_path / "code"
    shutil.copytree(ROOT / "grmp", code / "grmp", ignore=shutil.ignore_patterns("__pycache__"))
    (code / "grmp/methods/mean_label.py").write_text(KIND)
    ask_for(file, "mean_label")
    assert to_compute(code, file.parent) == ["mean_label"]
    with (code / "grmp/finetune/gradient_rules.py").open("a") as rules:
        rules.write(RULE)
    ask_for(file, "half")
    found = to_compute(code, file.parent, *ENTRIES)
    assert found == ["random_prompts", "mean_label", "half"]  # fine-tuning reads all rules
    records = {m: (file.parent / f"results/runs/sound/target/{m}/6/predictions.csv").read_bytes() for m in ENTRIES}
    assert len(set(records.values())) == 2
