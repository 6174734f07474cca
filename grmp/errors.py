"""The one exception that users see: a line that names the cause and the remedy."""

import errno
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

# errors of the system that say nothing about what a file holds
NOT_CONTENT = (errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ESTALE)


class UserError(Exception):
    """Something the user can fix. The message is one line; the command line prints it and exits with code 1."""


def one_line(error: object, longest: int = 160) -> str:
    """The text of an exception on one line of bounded length; its type if it has none."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


def some(names: Sequence[str]) -> str:
    """The first five of ``names``, and dots if there are more."""
    return ", ".join([*names[:5], *(["..."] if len(names) > 5 else [])])


@contextmanager
def reading(path: Path, remedy: str) -> Iterator[None]:
    """Inside, a file is read: whatever fails is one line that names it, and the ``remedy``."""
    try:
        yield
    except UserError:
        raise
    except FileNotFoundError as error:
        raise UserError(f"{error.filename or path} not found; {remedy}") from None
    except Exception as error:  # corrupt content makes parsers raise anything
        if isinstance(error, MemoryError) or getattr(error, "errno", None) in NOT_CONTENT:
            raise UserError(f"{path} cannot be read: {one_line(error)}") from None
        raise UserError(f"{path} is corrupt ({one_line(error)}); {remedy}") from None
