"""The import closure of a module, and its digest."""

import ast

from grmp.code import WITHOUT_NUMBERS, closure, imported, sources, statements


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


def test_a_digest_depends_on_statements_alone():
    source = b'''"""A module."""

def f(x):
    """Adds one.

    # whatever it says
    """
    # why
    return x + 1  # one
'''
    other = (
        source.replace(b"A module", b"Another\\n\\nmodule")
        .replace(b"    # why\n", b"\n")
        .replace(b"whatever", b"nothing")
    )
    assert statements(source) == statements(other) == b"...\ndef f(x):\n    ...\n    return x + 1  # one"
    assert statements(source.replace(b"+ 1", b"+ 2")) != statements(source)


def test_lines_of_a_string_that_is_no_docstring_count():
    source = b'x = """\n# a line\n\n"""\n# a comment\n'
    assert statements(source) == b'x = """\n# a line\n\n"""'
    assert statements(b'x = f"""\n# {y}\n"""') == b'x = f"""\n# {y}\n"""'


def test_every_source_keeps_its_statements():
    """What is left parses to the same tree, docstrings aside."""
    for source in sources().values():
        trees = [ast.parse(text) for text in (source, statements(source))]
        for node in ast.walk(trees[0]):
            if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
                node.body[0].value = ast.Constant(...)
        assert ast.dump(trees[0]) == ast.dump(trees[1])
