"""A local server, a Hub client that asks it, and no waiting between attempts."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from grmp.data import download
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
