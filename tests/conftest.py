"""Fixtures shared by all tests."""

import gc
import os
import sys
from pathlib import Path

import pytest

# two test processes with two threads each wait for one another on two cores; torch reads this when it is first imported
os.environ.setdefault("OMP_NUM_THREADS", "1")
# many tests start commands of the project, which otherwise would compile it each time
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# jsonschema would compile 38 grammars at its import, for a format that no notebook has; without them it does without
sys.modules["rfc3987_syntax"] = None
ROOT = Path(__file__).parent.parent


def pytest_collection_finish() -> None:
    """Let no collection of garbage look at what was imported: each split of a run begins with one."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder with real score files, photographs and golden vectors (GRMP_SHARED, or ../shared); skips without it."""
    folder = Path(os.environ.get("GRMP_SHARED", ROOT.parent / "shared"))
    if not folder.is_dir():
        pytest.skip(f"real material not found at {folder}; set GRMP_SHARED to its folder")
    return folder
