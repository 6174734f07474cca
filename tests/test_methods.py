"""Every kind of method through a whole run: it learns, it repeats its bytes, and its record depends on its own code alone."""

import json
import re
import shutil
from fnmatch import fnmatch

import numpy as np
import pandas as pd
import pytest
import yaml
from scipy.stats import spearmanr

from grmp import params, runs, sweep
from grmp.pretrain import pretrain
from grmp.runs import Key
from tests import worlds
from tests.conftest import ROOT

FIT = {"epochs": 60, "learning_rate": 3e-3, "weight_decay": 1e-2, "batch": 8}
CHANGES = {
    "adapt": {"learning_rate": 0.05},
    "protocols": {"sound": {"adapt": {"epochs": 25}}},
    "methods": {"panel": {"width": 16, "heads": 2, "views": 2, "fit": FIT}, "distill": {"fit": FIT}},
}


@pytest.fixture(scope="module")
def world(tmp_path_factory):
    """A tiny world with both kinds of learned prompts."""
    file = worlds.build(tmp_path_factory.mktemp("world") / "w", **CHANGES)
    shutil.rmtree(file.parent / "data/prepared/target")
    worlds.database(file.parent, "target", references=28, kinds=["jpeg"], seed=2)  # 21 test pictures
    for variant in ("fomaml", "triplets"):
        pretrain(params.load(file), file.parent, variant)
    return file


def record(world, method, shots=24, protocol="sound"):
    """Runs it; (median SRCC over splits, bytes of the predictions, run.json)."""
    key = Key(protocol, "target", method, shots)
    sweep.run(params.load(world), world.parent, key)
    folder = key.folder(world.parent)
    table = pd.read_csv(folder / "predictions.csv")
    srcc = [spearmanr(part["score"], part["quality"])[0] for _, part in table.groupby("split")]
    return (
        float(np.median(srcc)),
        (folder / "predictions.csv").read_bytes(),
        json.loads((folder / "run.json").read_text()),
    )


@pytest.mark.parametrize("method", ["panel", "distill", "triplets"])
def test_it_learns_and_repeats_its_bytes(world, method):
    srcc, predictions, run = record(world, method)
    assert run["status"] == ["ok"] * 3
    assert run["trained_values"] > 0
    idle = {
        "adapt": {"learning_rate": 1e-12},
        "methods": {m: {"fit": {"learning_rate": 1e-12}} for m in ("panel", "distill")},
    }
    other = world.parent.parent / f"idle-{method}"
    shutil.copytree(world.parent, other)
    shutil.rmtree(other / "results/runs")
    raw = yaml.safe_load(world.read_text())
    for group, values in idle.items():
        worlds.merge(raw[group], values)
    (other / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    untrained, _, _ = record(other / "params.yaml", method)
    assert srcc > max(0.6, untrained + 0.2)
    shutil.rmtree(world.parent / "results/runs")
    assert record(world, method)[1] == predictions


def test_page_tells_of_every_method():
    page = (ROOT / "docs/methods.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)` \| `(\w+)` \|", page, re.M))
    ablations = re.findall(r"`([\w*]+)`", page[page.index("Ablations are") : page.index("`set` holds")])
    ablations = [name for name in ablations if name not in rows]
    for file in ("params.yaml", "demo/params.yaml", "real/params.yaml"):
        methods = {n: m.kind for n, m in params.load(ROOT / file).methods.items()}
        assert {n: k for n, k in methods.items() if not any(fnmatch(n, a) for a in ablations)} == rows
    assert all(any(fnmatch(n, a) for n in params.load(ROOT / "params.yaml").methods) for a in ablations)


def test_a_record_depends_on_its_own_kind_of_code(world, monkeypatch):
    loaded = params.load(world)
    keys = [Key("sound", "target", m, 6) for m in ("zero_shot", "ridge", "grmp", "panel", "distill")]
    before = {k.method: runs.identity(loaded, world.parent, k) for k in keys}

    def renewed(file):
        true = runs.sha256
        monkeypatch.setattr(runs, "sha256", lambda path: "0" if path.name == file else true(path))
        after = {k.method: runs.identity(loaded, world.parent, k) for k in keys}
        monkeypatch.setattr(runs, "sha256", true)
        return {m for m in before if before[m] != after[m]}

    assert renewed("panel.py") == {"panel"}
    assert renewed("distill.py") == {"distill"}
    assert renewed("fit.py") == {"panel", "distill"}
    assert renewed("regularize.py") == {"grmp", "distill"}
    assert renewed("clip.py") == set(before)
    assert renewed("collect.py") == set()


def test_teacher_is_a_method_that_adapts(tmp_path):
    raw = worlds.settings(methods={"distill": {"teacher": "ridge"}})
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    with pytest.raises(params.UserError, match=r"methods.distill.teacher: 'ridge' is not defined; known: .*grmp"):
        params.load(tmp_path / "params.yaml")


def test_a_student_depends_on_its_teachers_settings(world):
    raw = yaml.safe_load(world.read_text())

    def identity():
        (world.parent / "other.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
        loaded = params.load(world.parent / "other.yaml")
        return [runs.identity(loaded, world.parent, Key("sound", "target", m, 6)) for m in ("distill", "panel")]

    before = identity()
    raw["methods"]["grmp"]["strength"] = 1.0
    after = identity()
    assert before[0] != after[0]
    assert before[1] == after[1]
