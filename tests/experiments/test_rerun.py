"""A record computed again from its own settings: identical here, and what has changed is named."""

import json
from dataclasses import replace

import numpy as np
import pytest
from typer.testing import CliRunner

from grmp import params
from grmp.cli import app
from grmp.errors import UserError
from grmp.experiments.record import read_record
from grmp.experiments.rerun import compare, rerun, restore
from grmp.experiments.run import run
from grmp.params import RunKey
from tests.experiments.conftest import edit
from tests.faults import copies

METHODS = ["ridge", "random_crossval", "grmp"]


@pytest.fixture(scope="module")
def pristine(pretrained, tmp_path_factory):
    """A world with a record of each method."""
    file, loaded = copies.copy(pretrained, tmp_path_factory.mktemp("records")), params.load(pretrained)
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
    edit(
        world,
        protocols={"sound": {"adapt": {"epochs": 1}}},
        adapt={"learning_rate": 0.5},
        methods={"grmp": {"strength": 0.0}, "ridge": {"alphas": [7.0]}},
        splits={"count": 5},
        continual={"splits": 5},
        attribution={"split": 4},
    )
    before = copies.records(world.parent)
    found = rerun(params.load(world), world.parent, folder(world, method))
    assert found == ("identical", 0, [])
    assert copies.records(world.parent) == before  # nothing of the world is touched


def test_a_changed_input_is_named_and_the_difference_told(world):
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


@pytest.mark.parametrize(
    ("change", "verdict"),
    [
        (lambda table: table.assign(score=table["score"] + 2e-6), "within tolerance"),
        (lambda table: table.assign(quality=1 - table["quality"]), "differs: other ratings"),
    ],
)
def test_other_numbers_of_the_same_images(pristine, change, verdict):
    new = read_record(folder(pristine))
    assert compare(replace(new, predictions=change(new.predictions)), new)[0] == verdict


def test_a_table_that_was_changed_is_refused(world):
    path = folder(world) / "predictions.csv"
    path.write_text(path.read_text().replace("0.5", "0.6", 1))
    with pytest.raises(UserError, match=r"predictions\.csv was changed after run.json was written"):
        rerun(params.load(world), world.parent, folder(world))


def test_what_changed_is_named(world):
    path = folder(world, "ridge") / "run.json"
    run = json.loads(path.read_text())
    run["versions"] |= {"torch": "1.0", "no-such-package": "2.0"}
    run["device"] = "cuda"
    path.write_text(json.dumps(run))
    verdict, _, told = rerun(params.load(world), world.parent, folder(world, "ridge"))
    assert verdict == "identical"
    assert len(told) == 3
    assert "version of no-such-package: 2.0 in the record, none now" in told
    assert any(line.startswith("version of torch: 1.0 in the record") for line in told)
    assert "device: cuda in the record, cpu now" in told


def test_as_many_threads_as_the_record_had(pristine):
    recorded = read_record(folder(pristine, "ridge")).run
    assert restore(params.load(pristine), recorded.key, recorded.parameters, 7).adapt.threads == 7


def test_a_record_of_other_settings_is_refused(world):
    path = folder(world) / "run.json"
    run = json.loads(path.read_text())
    for adapt in (run["parameters"]["adapt"] | {"magic": 1}, "abc"):
        run["parameters"]["adapt"] = adapt
        path.write_text(json.dumps(run))
        with pytest.raises(UserError, match="a version with other settings") as caught:
            rerun(params.load(world), world.parent, folder(world))
        assert "\n" not in str(caught.value)


def test_tf32_of_the_record_is_named(world, monkeypatch):
    monkeypatch.setenv("GRMP_TF32", "1")
    with pytest.raises(UserError, match=r"computed without GRMP_TF32=1; unset the variable and try again$"):
        rerun(params.load(world), world.parent, folder(world, "ridge"))


def test_the_command(world):
    done = CliRunner().invoke(app, ["rerun", str(folder(world, "ridge")), "--params", str(world)])
    assert done.exit_code == 0
    assert done.output.splitlines()[-1].startswith("identical: largest difference of a score 0")
