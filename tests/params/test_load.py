"""params.yaml: every complaint is one line that names the key and the remedy."""

import re

import pytest
import yaml

from grmp import params
from grmp.errors import UserError
from grmp.params.schema import DEPARTING, departures
from tests.conftest import ROOT

WORLDS = [ROOT / "params.yaml", ROOT / "demo/params.yaml", *sorted(ROOT.glob("real/*/params.yaml"))]


@pytest.mark.parametrize("path", WORLDS, ids=lambda p: p.parent.name)
def test_every_world_is_valid_and_says_what_to_expect(path):
    params.load(path)
    head = path.read_text().split("paths:")[0].split("extends:")[0]
    assert all(line.startswith("#") for line in head.strip().splitlines())
    if "../params.yaml says" not in head:
        assert {"command", "needs"} <= {word for line in head.splitlines() for word in line.split()}


def test_every_departure_is_marked_in_the_full_file():
    """Each is named once, on the line of its sound value."""
    marked = {int(n): line for line, n in re.findall(r"^(.*)# departure (\d+):", WORLDS[0].read_text(), re.M)}
    declared = {n: key for kind in (*DEPARTING.values(), params.Variant) for key, n in departures(kind).items() if n}
    assert sorted(marked) == sorted(declared) == list(range(1, len(declared) + 1))
    for number, key in declared.items():
        assert f"{key}:" in marked[number]


def broken(tmp_path, change) -> str:
    raw = params.read(ROOT / "params.yaml")
    change(raw)
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(raw, sort_keys=False))
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


@pytest.mark.parametrize(
    ("group", "name", "words"),
    [
        ("methods", "panel", "unknown key 'methods.panel.oops'"),
        ("methods", "ridge", "unknown key 'methods.ridge.oops'"),
        ("methods", "distill", "unknown key 'methods.distill.oops'"),
        ("variants", "triplets", "unknown key 'variants.triplets.oops'"),
        ("variants", "reptile", "unknown key 'variants.reptile.oops'"),
    ],
)
def test_a_key_is_named_in_full_whatever_union_it_stands_in(tmp_path, group, name, words):
    assert words in broken(tmp_path, lambda r: r[group][name].update(oops=1))


def test_heads_share_the_width(tmp_path):
    assert "width 250 cannot be shared by 4 heads" in broken(
        tmp_path, lambda r: r["methods"]["panel"].update(width=250)
    )


def test_missing_key(tmp_path):
    assert "key 'adapt.batch' is missing" in broken(tmp_path, lambda r: r["adapt"].pop("batch"))
    message = broken(tmp_path, lambda r: r["protocols"]["published"]["adapt"].pop("epochs"))
    assert "key 'protocols.published.adapt.epochs' is missing" in message
    assert "key 'protocols' is missing" in broken(tmp_path, lambda r: r.pop("protocols"))


def test_departures_belong_to_the_protocols(tmp_path):
    message = broken(tmp_path, lambda r: r["adapt"].update(select="test"))
    assert "'adapt.select' belongs to the protocols: protocols.sound.adapt.select" in message


def test_under_another_protocol():
    sound = params.load(ROOT / "demo/params.yaml")
    published = sound.under("published")
    assert (sound.protocol, sound.adapt.select, sound.prompts.norm) == ("sound", "fixed", "identity")
    assert (published.protocol, published.adapt.select, published.prompts.norm) == ("published", "test", "layer")
    assert published.under("sound") == sound
    grmp = sound.methods["grmp"]
    assert [view.start_of(grmp) for view in (sound, published)] == ["fomaml", "reptile_published"]
    with pytest.raises(UserError, match="'strict' is not defined; known: sound, published"):
        sound.under("strict")


def test_a_method_may_set_keys_of_its_own(tmp_path):
    raw = params.read(ROOT / "demo/params.yaml")
    raw["methods"]["grmp"]["set"] = {"adapt.tuned_blocks": 0, "prompts.text_tokens": 8}
    (tmp_path / "params.yaml").write_text(yaml.safe_dump(raw, sort_keys=False))
    loaded = params.load(tmp_path / "params.yaml")
    own = loaded.for_method("grmp")
    assert (own.adapt.tuned_blocks, own.prompts.text_tokens) == (0, 8)
    assert loaded.for_method("meta_prompts") == loaded
    for key, words in (("run.shots", "none of adapt"), ("adapt.block", "unknown key 'adapt.block'")):
        assert words in broken(tmp_path, lambda r, key=key: r["methods"]["grmp"].update(set={key: 1}))


def test_number_read_as_text(tmp_path):
    assert yaml.safe_load("1e-4") == "1e-4"  # the trap itself
    message = broken(tmp_path, lambda r: r["adapt"].update(learning_rate="1e-4"))
    assert "'adapt.learning_rate'" in message
    assert "1.0e-4" in message


def test_wrong_type_and_range(tmp_path):
    assert "'splits.count'" in broken(tmp_path, lambda r: r["splits"].update(count=2.5))
    assert "'splits.test'" in broken(tmp_path, lambda r: r["splits"].update(test=1.5))
    assert "'protocols.sound.adapt.crops'" in broken(
        tmp_path, lambda r: r["protocols"]["sound"]["adapt"].update(crops="both")
    )
    assert "'run.few_shot.shots" in broken(tmp_path, lambda r: r["run"]["few_shot"].update(shots=[-1]))
    assert "'methods.grmp.strength'" in broken(tmp_path, lambda r: r["methods"]["grmp"].update(strength="five"))


def test_names_must_exist(tmp_path):
    def few(raw, **values):
        raw["run"]["few_shot"].update(values)

    for change, words in (
        (lambda r: few(r, methods=["gmrp"]), "run.few_shot.methods: 'gmrp' is not defined"),
        (lambda r: few(r, shots=[50, "20pct"]), "run.few_shot.shots: 20pct is a share of the labels"),
        (lambda r: few(r, protocols=["strict"]), "run.few_shot.protocols: 'strict' is not defined"),
        (lambda r: few(r, databases=["live_to_kadid"]), "'kadid' is not defined"),
        (lambda r: r["methods"]["grmp"].update(prompts="mata"), "methods.grmp.prompts: 'mata' is not defined"),
        (lambda r: r["pretrain"].update(databases=["kadid"]), "'kadid' is not defined"),
        (lambda r: r["protocols"]["sound"].update(meta="mata"), "protocols.sound.meta: 'mata' is not defined"),
        (lambda r: r["variants"]["maml"].update(protocol="no"), "variants.maml.protocol: 'no' is not defined"),
    ):
        assert words in broken(tmp_path, change)


def test_consistent_variants(tmp_path):
    assert "order 1 and 2" in broken(tmp_path, lambda r: r["variants"]["fomaml"].update(reset="never"))
    assert "inner: sgd" in broken(tmp_path, lambda r: r["variants"]["maml"].update(inner="adam"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no settings"),
        ("a: [", "not valid YAML"),
        ("a: {x: 1, y: 1, x: 2}", r"not valid YAML: duplicate key 'x' in line 1, column 17"),
        ("a: &b {x: 1}\nc: {<<: *b, x: 2}\na: {x: 3}", "duplicate key 'a' in line 3, column 1"),
        (None, "not found"),
    ],
)
def test_unreadable_file(tmp_path, text, words):
    path = tmp_path / "params.yaml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words):
        params.load(path)


def extending(tmp_path, child, parent=None):
    """A file with ``child`` that extends one with ``parent`` (the demo's merged settings by default)."""
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump(parent or params.read(ROOT / "demo/params.yaml"), sort_keys=False))
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump({"extends": "base.yaml"} | child, sort_keys=False))
    return path


def test_a_file_is_merged_into_the_one_that_it_extends(tmp_path):
    child = {"adapt": {"learning_rate": 0.5}, "ablations": {"words": None}, "data": {"databases": ["sim_pre1"]}}
    parent = {
        "adapt": {"learning_rate": 1.0, "batch": 2},
        "ablations": {"words": 1, "text": 2},
        "data": {"databases": [1, 2]},
    }
    assert params.read(extending(tmp_path, child, parent)) == {
        "adapt": {"learning_rate": 0.5, "batch": 2},
        "ablations": {"text": 2},
        "data": {"databases": ["sim_pre1"]},
    }


@pytest.mark.parametrize(
    ("child", "words"),
    [
        ({"adapt": {"lerning_rate": 1.0}}, r"params\.yaml: unknown key 'adapt\.lerning_rate'"),
        (
            {"adapt": {"lerning_rate": None}},
            r"'adapt\.lerning_rate: null' deletes a key that the extended file does not",
        ),
        ({"extends": "params.yaml"}, "extends must name another file"),
        ({"extends": 3}, "extends must name another file"),
        ({"extends": "nowhere.yaml"}, r"nowhere\.yaml not found"),
    ],
)
def test_mistakes_in_a_file_that_extends_are_named(tmp_path, child, words):
    with pytest.raises(UserError, match=words):
        params.load(extending(tmp_path, child))


def test_merged_settings_are_valid_and_the_same(tmp_path):
    (tmp_path / "params.yaml").write_text(params.merged(ROOT / "real/livec/params.yaml"))
    raw = yaml.safe_load((tmp_path / "params.yaml").read_text())
    assert "grmp_reads_test" in raw["methods"]
    assert "grmp_reads_test" in raw["run"]["ablation"]["methods"]


@pytest.mark.parametrize("path", WORLDS, ids=lambda p: p.parent.name)
def test_lists_that_dvc_expands_are_in_the_file_itself(path):
    """DVC fills dvc.yaml in from the folder's own params.yaml, without ``extends``."""
    own, merged = yaml.safe_load(path.read_text()), params.read(path)
    for template in set(re.findall(r"\$\{(?!item)([\w.]+)\}", (ROOT / "dvc.yaml").read_text())):
        found = [own, merged]
        for key in template.split("."):
            found = [values[key] for values in found]
        assert found[0] == found[1]


def test_only_the_arrays_that_somebody_reads_are_prepared():
    paper = params.load(ROOT / "params.yaml")
    assert paper.views("kadid10k") == ["pillow", "query", "support"], "for pre-training alone"
    assert paper.views("livec") == ["opencv", "pillow", "query"], "a target, and read to choose the released checkpoint"
    assert paper.views("pipal") == ["opencv", "pillow"]
    assert paper.views("spaq") == ["opencv", "pillow"], "whatever the settings do not name may be run by hand"
    changes = {"pretrain": paper.pretrain.model_copy(update={"variants": ["fomaml"]})}
    changes |= {"inner_curves": paper.inner_curves.model_copy(update={"variants": ["fomaml"]})}
    sound = paper.model_copy(update=changes | {"protocols": {"sound": paper.protocols["sound"]}})
    assert all(sound.views(name) == ["pillow"] for name in paper.data.databases)
