"""docs/departures.md, the settings' types and the files of settings name the same departures."""

import re

import pytest

from grmp import params
from grmp.params.schema import DEPARTING, departures
from tests.conftest import ROOT
from tests.params.conftest import read

ROW = re.compile(r"^\| (\d+) \| `([\w.*]+)` \| `([\w.]+)` \| `([\w.]+)` \|$", re.M)
TABLE = {
    int(n): (key, released, sound) for n, key, released, sound in ROW.findall((ROOT / "docs/departures.md").read_text())
}
GROUPS = DEPARTING | {"variants": params.Variant}


def test_as_many_as_the_page_says_each_with_its_explanation():
    text = (ROOT / "docs/departures.md").read_text()
    assert sorted(TABLE) == list(range(1, int(re.search(r"There are (\d+) departures", text)[1]) + 1))
    assert [int(n) for n in re.findall(r"^(\d+)\. \*\*", text, re.M)] == sorted(TABLE)


@pytest.mark.parametrize("number", sorted(TABLE))
def test_key_exists_and_takes_both_values(number):
    key, released, sound = TABLE[number]
    group, name = key.split(".")[0], key.split(".")[-1]
    allowed = str(GROUPS[group].model_fields[name].annotation)
    assert released != sound
    for value in (released, sound):
        assert (
            f"'{value}'" in allowed
            or (value in {"true", "false"} and "bool" in allowed)
            or (value.isdigit() and "int" in allowed)
            or ("." in value and "float" in allowed)
        )


def test_settings_mark_the_same_keys():
    marked = {n: f"{group}.{key}" for group, kind in GROUPS.items() for key, n in departures(kind).items() if n}
    assert {n: key.replace(".*", "") for n, (key, _, _) in TABLE.items()} == marked
    assert departures(params.ShippedBackbone) == departures(params.PretrainedBackbone)


# images that are made at the size that the CLIP reads need no resizing
AT_SIZE = {"demo/params.yaml": {"data.resize", "pretrain.resize"}, "real/livec/params.yaml": {"pretrain.resize"}}


@pytest.mark.parametrize("world", ["params.yaml", "demo/params.yaml", "real/livec/params.yaml"])
@pytest.mark.parametrize("protocol", ["published", "sound"])
def test_every_world_has_both_protocols_complete(world, protocol):
    """They say the departures and the schedule, and nothing else."""
    raw = read(ROOT / world)
    assert raw["protocols"].keys() == {"published", "sound"}
    given = raw["protocols"][protocol]
    for key, released, sound in TABLE.values():
        group, *_, name = key.split(".")
        value = raw["variants"][given["meta"]][name] if group == "variants" else given[group][name]
        as_released = protocol == "published" and key not in AT_SIZE.get(world, ())
        assert str(value).lower() == (released if as_released else sound), key
    assert raw["variants"][given["meta"]]["protocol"] == protocol
    said = {f"{g}.{k}" for g, values in given.items() if isinstance(values, dict) for k in values}
    assert said == {"adapt.epochs"} | {key for key, _, _ in TABLE.values() if not key.startswith("variants")}
