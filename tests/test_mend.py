"""A dvc.lock that a killed DVC left cut off anywhere: DVC reads what is left, and whole stages stay."""

import numpy as np
import pytest
import yaml

from grmp.mend import mend, whole_stages
from tests.conftest import ROOT

WHOLE = (ROOT / "demo/dvc.lock").read_text()


def test_nothing_is_done_to_a_whole_one():
    assert whole_stages(WHOLE) is None


@pytest.mark.parametrize("seed", range(12))
def test_cut_anywhere(seed, tmp_path):
    cut = WHOLE[: int(np.random.default_rng(seed).integers(len(WHOLE)))]
    (tmp_path / "dvc.lock").write_text(cut)
    told = mend(tmp_path)
    stages = yaml.safe_load(WHOLE)["stages"]
    kept = yaml.safe_load((tmp_path / "dvc.lock").read_text())["stages"] if (tmp_path / "dvc.lock").exists() else {}
    assert cut.count("\n    cmd:") - len(kept) in (0, 1)  # at most the stage being written is lost
    same = [name for name in kept if kept[name] == stages[name]]
    assert (
        len(kept) - len(same) <= 1
    )  # one cut between two lines cannot be told from a shorter stage: DVC runs it again
    assert mend(tmp_path) == []
    assert told or len(same) >= len(kept) - 1


def test_a_cut_table_of_locks(tmp_path):
    table = tmp_path / ".dvc/tmp/rwlock"
    table.parent.mkdir(parents=True)
    table.write_text('{"read": {"/a": [{"pid": 1, "cm')
    (tmp_path / "demo").mkdir()
    assert mend(tmp_path / "demo") == [f"{table} was cut off; removed"]
    assert not table.exists()
    table.write_text("{}")
    assert mend(tmp_path / "demo") == []
