"""A tiny world with learned prompts and four runs to do."""

import pytest
import yaml

from grmp import params
from grmp.experiments.run import run
from grmp.pretrain.train import pretrain
from tests import worlds
from tests.faults import copies


@pytest.fixture(scope="session")
def pretrained(tmp_path_factory):
    """The world; do not change what is in it."""
    methods = {"few_shot": {"methods": ["ridge", "grmp"]}}
    sequence = {"sequence": ["pre", "target"]}
    file = worlds.build(tmp_path_factory.mktemp("world") / "w", run=methods, continual=sequence)
    pretrain(params.load(file), file.parent, "fomaml")
    return file


@pytest.fixture
def world(pretrained, tmp_path):
    """A copy to change."""
    return copies.copy(pretrained, tmp_path)


@pytest.fixture(scope="session")
def undisturbed(pretrained, tmp_path_factory):
    """Every record, computed one after the other in this process."""
    file = copies.copy(pretrained, tmp_path_factory.mktemp("undisturbed"))
    loaded = params.load(file)
    for key in loaded.run.run_keys():
        run(loaded, file.parent, key, progress=False)
    return copies.records(file.parent)


def edit(file, **groups):
    """Changes settings, group by group; lists are replaced."""
    raw = yaml.safe_load(file.read_text())
    for group, values in groups.items():
        worlds.merge(raw[group], values)
    file.write_text(yaml.safe_dump(raw, sort_keys=False))
