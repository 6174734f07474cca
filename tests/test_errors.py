"""Text of an exception for one line."""

from grmp.errors import one_line


def test_one_line_is_bounded_and_never_empty():
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line("x" * 500)) == 160
