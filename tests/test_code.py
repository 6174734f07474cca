"""The import closure of a module."""

from grmp.code import WITHOUT_NUMBERS, closure, imported


def test_closure_follows_imports_and_leaves_out_what_computes_nothing():
    found = closure("grmp.methods.tune")
    assert {"grmp.methods.tune", "grmp.clip.model", "grmp.finetune.gradient_rules", "grmp.data.splits"} <= set(found)
    assert not [m for m in found if m.startswith(WITHOUT_NUMBERS)]
    assert "grmp.report.collect" not in found
    assert closure("grmp.nowhere", "grmp.use") == ("grmp.use",)


def test_imports_inside_functions_count_and_those_for_the_type_checker_do_not():
    source = (
        b"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from grmp import cli\n"
        b"def f():\n    from grmp.data import crops\n"
    )
    assert list(imported(source)) == ["grmp.data.crops"]
