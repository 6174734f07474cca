"""`jupyter lab` opens the percent-format sources as notebooks, through jupytext."""

from pathlib import Path

import pytest
from jupytext import TextFileContentsManager
from jupytext.config import load_jupytext_config

from tests.conftest import ROOT

SOURCES = sorted(path.stem for path in (ROOT / "notebooks").glob("*.py"))


@pytest.mark.parametrize("name", SOURCES)
def test_a_source_opens_as_a_notebook(name: str):
    manager = TextFileContentsManager()
    manager.root_dir = str(ROOT)
    model = manager.get(f"notebooks/{name}.py", type="notebook", content=True)
    assert model["type"] == "notebook"
    cells = model["content"]["cells"]
    assert cells[0]["cell_type"] == "markdown"
    assert cells[0]["source"].startswith("# ")
    assert [c for c in cells if "parameters" in c["metadata"].get("tags", [])]
    assert not [line for cell in cells for line in cell["source"].splitlines() if line.startswith("# %%")]


def test_the_configuration_is_found():
    assert len(SOURCES) >= 13
    config = load_jupytext_config(str(ROOT / "notebooks/few_shot.py"))
    assert config is not None
    assert config.default_formats(str(Path("notebooks/few_shot.py"))) == "notebooks///py:percent"
