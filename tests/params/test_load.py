"""params.yaml: every complaint is one line that names the key and the remedy."""

import re

import pytest
import yaml

from grmp import params
from grmp.errors import UserError
from grmp.params.schema import DEPARTING, departures
from tests.conftest import ROOT
from tests.params.conftest import changed, load, read

WORLDS = [ROOT / "params.yaml", ROOT / "demo/params.yaml", *sorted(ROOT.glob("real/*/params.yaml"))]


@pytest.mark.parametrize("path", WORLDS, ids=lambda p: p.parent.name)
def test_every_world_is_valid_and_says_what_to_expect(path):
    load(path)
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
    with pytest.raises(UserError) as caught:
        changed(tmp_path, change)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_mistyped_key_is_named_as_it_stands_in_the_file(tmp_path):
    def mistype(raw):
        raw["adapt"]["tuned_block"] = raw["adapt"].pop("tuned_blocks")

    assert "unknown key 'adapt.tuned_block'" in broken(tmp_path, mistype)


@pytest.mark.parametrize(("group", "name"), [("methods", "panel"), ("variants", "triplets"), ("variants", "reptile")])
def test_a_key_is_named_in_full_whatever_union_it_stands_in(tmp_path, group, name):
    assert f"unknown key '{group}.{name}.oops'" in broken(tmp_path, lambda r: r[group][name].update(oops=1))


def test_missing_key(tmp_path):
    assert "key 'adapt.batch' is missing" in broken(tmp_path, lambda r: r["adapt"].pop("batch"))
    message = broken(tmp_path, lambda r: r["protocols"]["published"]["adapt"].pop("epochs"))
    assert "key 'protocols.published.adapt.epochs' is missing" in message
    assert "key 'protocols' is missing" in broken(tmp_path, lambda r: r.pop("protocols"))


def test_departures_belong_to_the_protocols(tmp_path):
    message = broken(tmp_path, lambda r: r["adapt"].update(select="test"))
    assert "'adapt.select' belongs to the protocols: protocols.sound.adapt.select" in message


def test_under_another_protocol():
    sound = load(ROOT / "demo/params.yaml")
    published = sound.under("published")
    assert (sound.protocol, sound.adapt.select, sound.prompts.norm) == ("sound", "fixed", "identity")
    assert (published.protocol, published.adapt.select, published.prompts.norm) == ("published", "test", "layer")
    assert published.under("sound") == sound
    grmp = sound.methods["grmp"]
    assert [view.start_of(grmp) for view in (sound, published)] == ["fomaml", "reptile_published"]
    with pytest.raises(UserError, match="'strict' is not defined; known: sound, published"):
        sound.under("strict")


def test_a_method_may_set_keys_of_its_own(tmp_path):
    values = {"adapt.tuned_blocks": 0, "prompts.text_tokens": 8}
    loaded = changed(tmp_path, lambda r: r["methods"]["grmp"].update(set=values), "demo/params.yaml")
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


def few(**values):
    return lambda r: r["run"]["few_shot"].update(values)


def method(name, **values):
    return lambda r: r["methods"][name].update(values)


def continual(**values):
    return lambda r: r["continual"].update(values)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        # types and ranges
        (lambda r: r["splits"].update(count=2.5), "'splits.count'"),
        (lambda r: r["splits"].update(test=1.5), "'splits.test'"),
        (lambda r: r["protocols"]["sound"]["adapt"].update(crops="both"), "'protocols.sound.adapt.crops'"),
        (few(shots=[-1]), "'run.few_shot.shots"),
        (method("grmp", strength="five"), "'methods.grmp.strength'"),
        (method("grmp_crossval", folds=1), "key 'methods.grmp_crossval.folds'"),
        (lambda r: r["protocols"].update(sound="text"), "'protocols.sound"),
        (lambda r: r["protocols"]["sound"].update(adapt=3), "'protocols.sound.adapt'"),
        (method("grmp", set=3), "methods.grmp.set: not a mapping"),
        # names become folders
        (lambda r: r["methods"].update({"my method": r["methods"]["ridge"]}), "key 'methods.my method'"),
        (lambda r: r["protocols"].update({"a/b": r["protocols"]["sound"]}), "key 'protocols.a/b'"),
        (lambda r: r["protocols"].update(official=r["protocols"]["sound"]), "protocols.official: choose another name"),
        # names that do not exist
        (few(methods=["gmrp"]), "run.few_shot.methods: 'gmrp' is not defined"),
        (few(protocols=["strict"]), "run.few_shot.protocols: 'strict' is not defined"),
        (few(databases=["live_to_kadid"]), "'kadid' is not defined"),
        (lambda r: r["pretrain"].update(databases=["kadid"]), "'kadid' is not defined"),
        (lambda r: r["protocols"]["sound"].update(meta="mata"), "protocols.sound.meta: 'mata' is not defined"),
        (lambda r: r["variants"]["maml"].update(protocol="no"), "variants.maml.protocol: 'no' is not defined"),
        (
            lambda r: r["attribution"].update(methods=["ridge"]),
            "attribution.methods (of kind tune): 'ridge' is not defined; known: ",
        ),
        (continual(method="ridge"), "continual.method (of kind tune, with teacher: clip): 'ridge' is not defined"),
        (continual(method="upper"), "continual.method (of kind tune, with teacher: clip): 'upper' is not defined"),
        (lambda r: r.update(attribution=None), "'attribution' is not a group of settings; write its keys below it"),
        (
            continual(sequence=["live", "nowhere"]),
            "continual.sequence (of data.databases): 'nowhere' is not defined; known: ",
        ),
        (method("coop", kind="context"), "methods.coop.kind: 'context' is not a kind of method"),
        (method("grmp", prompts="mata"), "methods.grmp.prompts: 'mata' is not defined"),
        (method("distill", teacher="ridge"), "methods.distill.teacher: 'ridge' is not defined; known: "),
        (method("grmp_crossval", method="ridge"), "methods.grmp_crossval.method: 'ridge' is not defined; known: "),
        # values that do not fit together
        (few(shots=[50, "20pct"]), "run.few_shot.shots: 20pct is a share of the labels"),
        (continual(sequence=["live"]), "continual.sequence needs two databases or more, each of them once"),
        (lambda r: r["attribution"].update(split=10), "attribution.split is 10, but the last split is 9"),
        (
            continual(sequence=["live", "csiq", "live"]),
            "continual.sequence needs two databases or more, each of them once",
        ),
        (continual(splits=99), "continual.splits is 99, but splits.count is 10"),
        (method("grmp_crossval", grid={"adapt.rate": [1.0]}), "methods.grmp_crossval.grid: unknown key 'adapt.rate'"),
        (method("panel", width=250), "width 250 cannot be shared by 4 heads"),
        (lambda r: r["variants"]["fomaml"].update(reset="never"), "order 1 and 2"),
        (lambda r: r["variants"]["maml"].update(inner="adam"), "inner: sgd"),
    ],
)
def test_a_value_that_cannot_be_is_named(tmp_path, change, words):
    assert words in broken(tmp_path, change)


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


def test_the_only_method_of_others_may_be_deleted_from_external_yaml(tmp_path):
    (tmp_path / "external.yaml").write_text("# none\n")
    assert changed(tmp_path, lambda r: None).methods == load(ROOT / "params.yaml").methods


def extending(tmp_path, child, parent=None):
    """A file with ``child`` that extends one with ``parent`` (the demo's merged settings by default)."""
    base = tmp_path / "base.yaml"
    base.write_text(yaml.safe_dump(parent or read(ROOT / "demo/params.yaml"), sort_keys=False))
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


def test_merged_settings_have_what_ablations_generate():
    raw = yaml.safe_load(params.merged(ROOT / "real/livec/params.yaml"))
    assert raw["protocol"] == "sound", "the first one: DVC does not see their order"
    assert "grmp_reads_test" in raw["methods"]
    assert "grmp_reads_test" in raw["run"]["ablation"]["methods"]


@pytest.mark.parametrize("path", WORLDS, ids=lambda p: p.parent.name)
def test_lists_that_dvc_expands_are_in_the_file_itself(path):
    """DVC fills dvc.yaml in from the folder's own params.yaml, without ``extends``."""
    own, merged = yaml.safe_load(path.read_text()), read(path)
    for template in set(re.findall(r"\$\{(?!item)([\w.]+)\}", (ROOT / "dvc.yaml").read_text())):
        found = [own, merged]
        for key in template.split("."):
            found = [values[key] for values in found]
        assert found[0] == found[1]


def test_only_the_arrays_that_somebody_reads_are_prepared():
    paper = load(ROOT / "params.yaml")
    assert paper.views("kadid10k") == ["pillow", "query", "support"], "for pre-training alone"
    assert paper.views("livec") == ["opencv", "pillow", "query"], "a target, and read to choose the released checkpoint"
    assert paper.views("pipal") == ["opencv", "pillow"]
    assert paper.views("spaq") == ["opencv", "pillow"], "whatever the settings do not name may be run by hand"
    changes = {"pretrain": paper.pretrain.model_copy(update={"variants": ["fomaml"]})}
    changes |= {"inner_curves": paper.inner_curves.model_copy(update={"variants": ["fomaml"]})}
    sound = paper.model_copy(update=changes | {"protocols": {"sound": paper.protocols["sound"]}})
    assert all(sound.views(name) == ["pillow"] for name in paper.data.databases)
