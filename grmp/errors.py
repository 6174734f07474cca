"""The one exception that users meet: a line that names the thing and the remedy."""


class UserError(Exception):
    """Something the user can mend. The message is one line; the command line prints it and exits with 1."""
