"""The import closure of a module."""

import pytest

from grmp.code import WITHOUT_NUMBERS, closure, imported, path_of
from tests.conftest import ROOT


def test_closure_follows_imports_and_leaves_out_what_computes_nothing():
    found = closure("grmp.methods.tune")
    assert {"grmp.methods.tune", "grmp.clip.model", "grmp.finetune.gradient_rules", "grmp.data.splits"} <= set(found)
    assert not [m for m in found if m.startswith(WITHOUT_NUMBERS)]
    assert "grmp.report.collect" not in found


def test_imports_inside_functions_count_and_those_for_the_type_checker_do_not(tmp_path):
    source = (
        "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from grmp import cli\n"
        "def f():\n    from grmp.data import crops\n"
    )
    (tmp_path / "a.py").write_text(source)
    assert list(imported(tmp_path / "a.py")) == ["grmp.data.crops"]


def test_unknown_module_has_no_path():
    assert path_of("grmp.nowhere") is None
    assert path_of("grmp.data") == ROOT / "grmp/data/__init__.py"


@pytest.mark.parametrize("upper", ["grmp.report", "grmp.cli"])
def test_no_number_depends_on_the_pages(upper):
    assert not [m for m in closure("grmp.methods.tune", "grmp.pretrain.train") if f"{m}.".startswith(f"{upper}.")]
