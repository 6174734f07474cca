"""A local server, a Hub client that asks it, and no waiting between attempts."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from grmp.data import databases, download, fetch
from grmp.data.databases._entry import Scores
from tests.data import layouts
from tests.data.server import Site, running


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Site]:
    import huggingface_hub.constants as hub

    monkeypatch.setattr(download, "BACKOFF", 0.001)
    with running() as server:
        monkeypatch.setattr(hub, "ENDPOINT", server.url)
        monkeypatch.setattr(hub, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}")
        monkeypatch.setattr(hub, "HF_HUB_CACHE", str(tmp_path / "hub"))
        yield server


N = 9


@pytest.fixture
def fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A pipeline's data folder with 9 small images and their scores, fetched as ``toy``."""
    entry = replace(databases.get("sim_pre1"), name="toy", kind="authentic", scores=Scores(0, 1.0, float(N)))
    monkeypatch.setitem(databases.known(), "toy", entry)
    tree = {f"deep/er/P{i}.PNG": layouts.picture(".png", i, (30, 20)) for i in range(N)}
    tree["scores.csv"] = layouts.rated(*(f"p{i}.png,{1 + i},0.1,,," for i in range(N)))
    layouts.unpack(tree, tmp_path / "raw/toy")
    fetch.fetch("toy", tmp_path / "raw")
    return tmp_path
