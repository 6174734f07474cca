"""Fixtures shared by all tests."""

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real score files, photographs and golden vectors (GRMP_SHARED, or ../shared); skips without it."""
    folder = Path(os.environ.get("GRMP_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"real material not found at {folder}; set GRMP_SHARED to its folder")
    return folder
