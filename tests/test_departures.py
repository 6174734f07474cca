"""docs/departures.md, the settings' types and the files of settings name the same seventeen departures."""

import re
from pathlib import Path

import pytest
import yaml

from grmp import params
from tests.conftest import ROOT

ROW = re.compile(r"^\| (\d+) \| `([\w.*]+)` \| `([\w]+)` \| `([\w]+)` \|$", re.M)
TABLE = {
    int(n): (key, released, sound) for n, key, released, sound in ROW.findall((ROOT / "docs/departures.md").read_text())
}
GROUPS = {
    "variants": params.Variant,
    "pretrain": params.Pretrain,
    "adapt": params.Adapt,
    "data": params.Data,
    "splits": params.Splits,
    "backbone": params.PretrainedBackbone,
    "prompts": params.Prompts,
}


def test_seventeen_each_with_its_explanation():
    assert sorted(TABLE) == list(range(1, 18))
    text = (ROOT / "docs/departures.md").read_text()
    assert [int(n) for n in re.findall(r"^(\d+)\. \*\*", text, re.M)] == list(range(1, 18))


@pytest.mark.parametrize("number", sorted(TABLE))
def test_key_exists_and_takes_both_values(number):
    key, released, sound = TABLE[number]
    group, name = key.split(".")[0], key.split(".")[-1]
    allowed = str(GROUPS[group].model_fields[name].annotation)
    assert released != sound
    for value in (released, sound):
        assert f"'{value}'" in allowed or (value in {"true", "false"} and "bool" in allowed)


def test_settings_mark_the_same_keys():
    source = Path(params.__file__).read_text()
    marked = {int(n): name for name, n in re.findall(r"^    (\w+):.*# departure (\d+)", source, re.M)}
    assert {n: key.split(".")[-1] for n, (key, _, _) in TABLE.items()} == marked | {16: "normalize"}


@pytest.mark.parametrize("world", ["params.yaml", "demo/params.yaml", "real/params.yaml"])
def test_every_world_runs_the_sound_values(world):
    raw = yaml.safe_load((ROOT / world).read_text())
    (name,) = raw["pretrain"]["variants"]
    learned = {"variants": {"*": raw["variants"][name]}}
    for key, _, sound in TABLE.values():
        value = (learned if key.startswith("variants") else raw)[key.split(".")[0]]
        for part in key.split(".")[1:]:
            value = value[part]
        assert str(value).lower() == sound, key
