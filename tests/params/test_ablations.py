"""Declared ablations: every value is a method, whatever the base has."""

import pytest

from grmp.errors import UserError
from tests.conftest import ROOT
from tests.params.conftest import changed, load


def test_points_are_the_declared_values_with_the_base_among_them():
    loaded = load(ROOT / "params.yaml")
    assert loaded.ablations["lambda"].points == [
        (0.0, "meta_prompts"),
        (1.0, "lambda_1"),
        (2.0, "lambda_2"),
        (5.0, "grmp"),
        (10.0, "lambda_10"),
        (20.0, "lambda_20"),
    ]
    assert loaded.ablations["layers"].points == [(1, "shallow"), (0, "random_prompts")]  # 0 stands for all layers
    assert loaded.ablations["select"].points == [("fixed", "grmp"), ("test", "grmp_reads_test")]
    for ablation in loaded.ablations.values():
        for value, name in ablation.points:
            group, _, field = ablation.key.rpartition(".")
            settings = getattr(loaded.for_method(name), group) if group else loaded.methods[name]
            assert getattr(settings, field) == value or name in ablation.also


def test_a_generated_method_is_the_base_with_one_value_changed():
    loaded = load(ROOT / "params.yaml")
    base = loaded.methods["grmp"].model_dump()
    assert loaded.methods["lambda_10"].model_dump() == base | {"strength": 10.0, "label": "GRMP-IQA, λ = 10"}
    assert loaded.methods["blocks_8"].model_dump() == base | {
        "set": {"adapt.tuned_blocks": 8},
        "label": "GRMP-IQA, 8 tuned blocks",
    }


@pytest.mark.parametrize("strength", [10.0, 3.0])
def test_another_lambda_in_the_base_does_not_shrink_the_ablation(tmp_path, strength):
    loaded = changed(tmp_path, lambda r: r["methods"]["grmp"].update(strength=strength))
    values = dict(loaded.ablations["lambda"].points)
    assert sorted(values) == sorted({0.0, 1.0, 2.0, 5.0, 10.0, 20.0, strength})
    assert values[5.0] == "lambda_5"
    assert values[strength] == "grmp"
    assert {"lambda_1", "lambda_2", "lambda_5", "lambda_20"} < set(loaded.run.ablation.methods)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda r: r["ablations"]["lambda"].update(base="ridge"),
            "ablations.lambda.base: 'ridge' is not a method of kind",
        ),
        (lambda r: r["ablations"]["lambda"].update(values={"coop": 1.0}), "the method 'coop' is already defined"),
        (lambda r: r["ablations"]["blocks"].update(key="adapt.block"), "unknown key 'adapt.block'"),
        (lambda r: r["ablations"]["blocks"].update(vlaues=[1]), "unknown key 'ablations.blocks.vlaues'"),
    ],
)
def test_mistakes_are_named(tmp_path, change, words):
    with pytest.raises(UserError, match=words):
        changed(tmp_path, change)
