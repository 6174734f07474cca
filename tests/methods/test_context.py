"""What a run reads is opened in one place."""

import dataclasses

import pytest

from grmp import params
from grmp.files import read_json, write_json
from grmp.methods.context import open_context
from grmp.params import RunKey
from tests import worlds


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    file = worlds.build(tmp_path_factory.mktemp("context") / "root")
    return file.parent, params.load(file)


def test_one_database_is_read_once_and_a_pair_is_tested_on_all_of_the_second(root):
    folder, loaded = root
    alone = open_context(loaded, folder, RunKey("sound", "target", "ridge", 6))
    assert alone.target is alone.source
    assert alone.tested is alone.splits
    across = open_context(loaded, folder, RunKey("sound", "pre_to_target", "ridge", 6))
    assert (across.source.name, across.target.name) == ("pre", "target")
    assert sorted(across.tested.test(1)) == list(range(len(across.target.index)))
    assert across.quality.shape == (len(across.source.index),)


def test_settings_are_those_of_the_run(root):
    folder, loaded = root
    context = open_context(loaded, folder, RunKey("published", "target", "blocks_0", 6))
    assert (context.params.protocol, context.params.adapt.tuned_blocks) == ("published", 0)
    assert dataclasses.is_dataclass(context)


@pytest.mark.parametrize(("kind", "protocol", "batch"), [("synthetic", "published", 16), ("synthetic", "sound", 192)])
def test_the_batch_depends_on_the_kind_of_database(root, kind, protocol, batch):
    """Departure 10."""
    folder, loaded = root
    key, info = RunKey(protocol, "target", "grmp", 6), folder / "data/prepared/target/info.json"
    assert open_context(loaded, folder, key).params.adapt.batch == 192
    before = read_json(info)
    write_json(info, before | {"kind": kind})
    assert open_context(loaded, folder, key).params.adapt.batch == batch
    write_json(info, before)
