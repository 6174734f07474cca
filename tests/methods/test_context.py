"""What a run reads is opened in one place."""

import pytest

from grmp import params
from grmp.files import read_json, write_json
from grmp.methods.context import open_context
from grmp.params import RunKey
from tests.faults import copies


def test_one_database_is_read_once_and_a_pair_is_tested_on_all_of_the_second(world):
    folder, loaded = world.parent, params.load(world)
    alone = open_context(loaded, folder, RunKey("sound", "target", "ridge", 6))
    assert alone.target is alone.source
    assert alone.tested is alone.splits
    across = open_context(loaded, folder, RunKey("sound", "pre_to_target", "ridge", 6))
    assert (across.source.name, across.target.name) == ("pre", "target")
    assert sorted(across.tested.test(1)) == list(range(len(across.target.index)))
    assert across.quality.shape == (len(across.source.index),)


def test_settings_are_those_of_the_run(world):
    context = open_context(params.load(world), world.parent, RunKey("published", "target", "blocks_0", 6))
    assert (context.params.protocol, context.params.adapt.tuned_blocks) == ("published", 0)


@pytest.mark.parametrize(
    ("kind", "protocol", "batch"),
    [("simulated", "published", 192), ("synthetic", "published", 16), ("synthetic", "sound", 192)],
)
def test_the_batch_depends_on_the_kind_of_database(world, tmp_path, kind, protocol, batch):
    """Departure 10."""
    file = copies.copy(world, tmp_path)
    info = file.parent / "data/prepared/target/info.json"
    write_json(info, read_json(info) | {"kind": kind})
    context = open_context(params.load(file), file.parent, RunKey(protocol, "target", "grmp", 6))
    assert context.params.adapt.batch == batch
