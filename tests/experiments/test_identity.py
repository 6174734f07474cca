"""The code of a record: that of its kind and of what picks its labels, and no other kind."""

import pytest

from grmp.code import closure

KINDS = ("zero_shot", "ridge", "tune", "panel", "distill")


@pytest.mark.parametrize("kind", KINDS)
def test_code_of_a_kind(kind):
    found = closure(f"grmp.methods.{kind}", "grmp.methods.context")
    assert {"grmp.data.splits", "grmp.data.dataset", "grmp.clip.model", f"grmp.methods.{kind}"} <= set(found)
    others = {f"grmp.methods.{other}" for other in KINDS if other != kind}
    assert others & set(found) == ({"grmp.methods.tune"} if kind == "distill" else set())
    assert not [m for m in found if m.startswith(("grmp.report", "grmp.experiments"))]
    # a new database makes no record out of date
    assert not [m for m in found if m.startswith("grmp.data.databases.") and "._" not in m]
