"""params.yaml: every complaint is one line that names the key and the remedy."""

import re
from pathlib import Path

import pytest
import yaml

from grmp import params
from grmp.errors import UserError
from tests.conftest import ROOT

WORLDS = [ROOT / name for name in ("params.yaml", "demo/params.yaml", "real/params.yaml")]


@pytest.mark.parametrize("path", WORLDS, ids=lambda p: p.parent.name)
def test_every_world_is_valid_and_says_what_to_expect(path):
    params.load(path)
    head = path.read_text().split("paths:")[0]
    assert all(line.startswith("#") for line in head.strip().splitlines())
    assert {"command", "expect"} <= {word for line in head.splitlines() for word in line.split()}


@pytest.mark.parametrize("path", WORLDS, ids=lambda p: p.parent.name)
def test_every_value_is_commented_or_self_evident(path):
    """A departure named in params.py is marked where its value stands; every other value has a comment or a plain name."""
    lines = path.read_text().splitlines()
    marked = {line.split(":")[0].strip() for line in lines if "# departure" in line}
    declared = re.findall(r"^    (\w+):.*# departure", Path(params.__file__).read_text(), re.M)
    assert set(declared) <= marked


def broken(tmp_path, change) -> str:
    raw = yaml.safe_load((ROOT / "params.yaml").read_text())
    change(raw)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw))
    with pytest.raises(UserError) as caught:
        params.load(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_key(tmp_path):
    assert "unknown key 'adapt.lerning_rate'" in broken(tmp_path, lambda r: r["adapt"].update(lerning_rate=1.0))


def test_mistyped_key_is_named_as_it_stands_in_the_file(tmp_path):
    def mistype(raw):
        raw["adapt"]["tuned_block"] = raw["adapt"].pop("tuned_blocks")

    assert "unknown key 'adapt.tuned_block'" in broken(tmp_path, mistype)


def test_missing_key(tmp_path):
    assert "key 'adapt.epochs' is missing" in broken(tmp_path, lambda r: r["adapt"].pop("epochs"))


def test_number_read_as_text(tmp_path):
    assert yaml.safe_load("1e-4") == "1e-4"  # the trap itself
    message = broken(tmp_path, lambda r: r["adapt"].update(learning_rate="1e-4"))
    assert "'adapt.learning_rate'" in message
    assert "1.0e-4" in message


def test_wrong_type_and_range(tmp_path):
    assert "'splits.count'" in broken(tmp_path, lambda r: r["splits"].update(count=2.5))
    assert "'splits.test'" in broken(tmp_path, lambda r: r["splits"].update(test=1.5))
    assert "'adapt.crops'" in broken(tmp_path, lambda r: r["adapt"].update(crops="both"))
    assert "'methods.grmp.strength'" in broken(tmp_path, lambda r: r["methods"]["grmp"].update(strength="five"))


def test_names_must_exist(tmp_path):
    assert "method 'gmrp' is not defined" in broken(tmp_path, lambda r: r["run"].update(methods=["gmrp"]))
    assert "neither random nor a variant" in broken(tmp_path, lambda r: r["methods"]["grmp"].update(prompts="mata"))
    assert "'kadid' is used but not listed" in broken(tmp_path, lambda r: r["pretrain"].update(databases=["kadid"]))


def test_consistent_variants(tmp_path):
    assert "order 1 and 2" in broken(tmp_path, lambda r: r["variants"]["meta"].update(reset="never"))
    assert "inner: sgd" in broken(tmp_path, lambda r: r["variants"]["maml"].update(inner="adam"))


@pytest.mark.parametrize(
    ("text", "words"), [("", "holds no settings"), ("a: [", "not valid YAML"), (None, "not found")]
)
def test_unreadable_file(tmp_path, text, words):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words):
        params.load(path)
