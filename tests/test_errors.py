"""Text of an exception for one line."""

import errno
import os
from pathlib import Path

import pytest

from grmp.errors import UserError, one_line, reading


def test_one_line_is_bounded_and_never_empty():
    assert one_line(ValueError("a\n  b")) == "a b"
    assert one_line(KeyError()) == "KeyError"
    assert len(one_line("x" * 500)) == 160


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (ValueError("no header"), r"weights is corrupt \(no header\); train it again"),
        (OSError("image file is truncated"), "weights is corrupt"),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), "weights cannot be read: .*Permission denied$"),
        (MemoryError(), "weights cannot be read: MemoryError$"),
    ],
)
def test_an_intact_file_is_not_called_corrupt(error: Exception, said: str):
    with pytest.raises(UserError, match=said), reading(Path("weights"), "train it again"):
        raise error
