"""A method of others has a name in tables, and is never computed."""

import pytest

from grmp.errors import UserError
from grmp.methods.external import External, prepare


def test_computing_it_names_the_command_that_adds_predictions():
    method = External(kind="external", label="Mine")
    assert not method.computed
    with pytest.raises(
        UserError, match="'Mine' is not computed here; add its predictions with: grmp evaluate FILE --add"
    ):
        prepare(None, method)
