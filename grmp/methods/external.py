"""A method outside this project, whose predictions `grmp evaluate --add` has read from a table. It is never run here."""

from typing import ClassVar, Literal

from grmp.errors import UserError
from grmp.methods.context import RunContext, Splitwise
from grmp.params import Method


class External(Method):
    """A name in tables and figures; its records exist for those cells of a grid that were added."""

    computed: ClassVar[bool] = False

    kind: Literal["external"]


def prepare(ctx: RunContext, method: External) -> Splitwise:
    """Nothing to compute.

    Raises UserError always.
    """
    raise UserError(f"'{method.label}' is not computed here; add its predictions with: grmp evaluate FILE --add")
