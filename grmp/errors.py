"""The one exception that users see: a line that names the cause and the remedy."""

from collections.abc import Sequence


class UserError(Exception):
    """Something the user can fix. The message is one line; the command line prints it and exits with code 1."""


def one_line(error: object, longest: int = 160) -> str:
    """The text of an exception on one line of bounded length; its type if it has none."""
    return " ".join(str(error).split())[:longest] or type(error).__name__


def some(names: Sequence[str]) -> str:
    """The first five of ``names``, and dots if there are more."""
    return ", ".join([*names[:5], *(["..."] if len(names) > 5 else [])])
