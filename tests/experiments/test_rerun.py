"""A record computed again from its own settings: identical here, and what has changed is named."""

import json

import numpy as np
import pandas as pd
import pytest
import yaml

from grmp import params
from grmp.cli import app
from grmp.errors import UserError
from grmp.experiments.rerun import rerun, restore
from grmp.experiments.run import run
from grmp.params import RunKey
from grmp.pretrain.train import pretrain
from tests import worlds
from tests.faults import copies
from tests.report.sample import seal

METHODS = ["zero_shot", "ridge", "random_crossval", "grmp"]


@pytest.fixture(scope="module")
def pristine(tmp_path_factory):
    file = worlds.build(tmp_path_factory.mktemp("world") / "w", run={"few_shot": {"methods": METHODS}})
    loaded = params.load(file)
    pretrain(loaded, file.parent, "fomaml")
    for method in METHODS:
        run(loaded, file.parent, RunKey("sound", "target", method, 6), progress=False)
    return file


@pytest.fixture
def world(pristine, tmp_path):
    return copies.copy(pristine, tmp_path)


def folder(world, method="grmp"):
    return RunKey("sound", "target", method, 6).folder(world.parent)


@pytest.mark.parametrize("method", METHODS)
def test_identical_whatever_params_yaml_says_now(world, method):
    raw = yaml.safe_load(world.read_text())
    raw["protocols"]["sound"]["adapt"]["epochs"] = 1
    raw["adapt"]["learning_rate"] = 0.5
    raw["methods"]["grmp"]["strength"] = 0.0
    raw["methods"]["ridge"]["alphas"] = [7.0]
    world.write_text(yaml.safe_dump(raw, sort_keys=False))
    before = copies.records(world.parent)
    found = rerun(params.load(world), world.parent, folder(world, method))
    assert found == ("identical", 0, [])
    assert copies.records(world.parent) == before  # nothing of the world is touched


def test_a_changed_input_is_named_and_the_difference_told(world, capsys):
    images = world.parent / "data/prepared/target/images.npy"
    np.save(images, 255 - np.load(images))
    info = images.with_name("info.json")
    card = json.loads(info.read_text())
    card["views"]["pillow"] = "0" * 64
    info.write_text(json.dumps(card))
    verdict, largest, changed = rerun(params.load(world), world.parent, folder(world))
    assert verdict == "differs"
    assert largest > 1e-4
    assert [line.split(":")[0] for line in changed] == ["input database"]


def test_a_slightly_different_score_is_within_tolerance(world):
    path = folder(world) / "predictions.csv"
    table = pd.read_csv(path)
    table["score"] += 2e-6
    table.to_csv(path, index=False)
    seal(path.parent)
    assert rerun(params.load(world), world.parent, folder(world))[0] == "within tolerance"


def test_other_opinions_are_a_difference(world):
    path = folder(world) / "predictions.csv"
    table = pd.read_csv(path)
    table["quality"] = 1 - table["quality"]
    table.to_csv(path, index=False)
    seal(path.parent)
    assert rerun(params.load(world), world.parent, folder(world))[0] == "differs: other ratings"


def test_a_table_that_was_changed_is_refused(world):
    path = folder(world) / "predictions.csv"
    path.write_text(path.read_text().replace("0.5", "0.6", 1))
    with pytest.raises(UserError, match=r"predictions\.csv was changed after run.json was written"):
        rerun(params.load(world), world.parent, folder(world))


def test_what_changed_is_named_and_no_control_character_printed(world):
    path = folder(world, "ridge") / "run.json"
    run = json.loads(path.read_text())
    run["versions"] |= {"torch": "1.0", "no-such-package": "2.0\n\x1b[31m", "..": "1"}
    run["device"] = "cuda"
    path.write_text(json.dumps(run))
    verdict, _, told = rerun(params.load(world), world.parent, folder(world, "ridge"))
    assert verdict == "identical"
    assert len(told) == 4
    assert "version of no-such-package: 2.0??[31m in the record, none now" in told
    assert any(line.startswith("version of torch: 1.0 in the record") for line in told)
    assert "device: cuda in the record, cpu now" in told


def test_as_many_threads_as_the_record_had(world):
    loaded = params.load(world)
    recorded = json.loads((folder(world, "ridge") / "run.json").read_text())
    made = restore(loaded, RunKey("sound", "target", "ridge", 6), recorded["parameters"], 7)
    assert made.adapt.threads == 7


def test_a_record_of_other_settings_or_damaged_is_refused(world):
    path = folder(world) / "run.json"
    run = json.loads(path.read_text())
    run["parameters"]["adapt"]["magic"] = 1
    path.write_text(json.dumps(run))
    with pytest.raises(UserError, match="a version with other settings") as caught:
        rerun(params.load(world), world.parent, folder(world))
    assert "\n" not in str(caught.value)
    run["parameters"]["adapt"] = "abc"
    path.write_text(json.dumps(run))
    with pytest.raises(UserError, match="a version with other settings"):
        rerun(params.load(world), world.parent, folder(world))
    path.write_text("{")
    with pytest.raises(UserError, match=r"run.json cannot be read"):
        rerun(params.load(world), world.parent, folder(world))


def test_the_command(world):
    from typer.testing import CliRunner

    done = CliRunner().invoke(app, ["rerun", str(folder(world, "zero_shot")), "--params", str(world)])
    assert done.exit_code == 0
    assert done.output.splitlines()[-1].startswith("identical: largest difference of a score 0")
