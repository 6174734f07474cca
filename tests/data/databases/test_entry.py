"""Helpers of the entries."""

from grmp.data import databases
from grmp.data.databases import _entry


def test_names():
    assert _entry.file_name("a/b/c.jpg") == ("c.jpg", "", "", "")
    assert _entry.folder_and_name("a/b/c.jpg") == ("b/c.jpg", "", "", "")
    assert _entry.numbered("blur, noise") == ("01 blur", "02 noise")


def test_download_is_that_of_the_first_source():
    assert databases.get("csiq").download == 379_062_485 + 500_000
    assert databases.get("sim_wild").download == 0
