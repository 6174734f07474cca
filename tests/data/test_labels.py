"""A score file becomes a checked table; wrong ones are refused with the reason."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from grmp.data import databases, labels
from grmp.data.databases._entry import Scores
from grmp.errors import UserError


def kadid(**changes):
    t = pd.DataFrame(
        {"dist_img": ["I01_01_01.png", "I01_01_02.png"], "ref_img": "I01.png", "dmos": [4.0, 2.0], "var": 0.25}
    )
    for column, values in changes.items():
        t[column] = values
    return t


SMALL = replace(databases.get("kadid10k"), scores=Scores(2, 2.0, 4.0, 3.0, 1.0))


def test_a_small_table(tmp_path):
    kadid().to_csv(tmp_path / "dmos.csv", index=False)
    t = labels.read(SMALL, tmp_path)
    assert t["quality"].tolist() == [1.0, 0.0]
    assert t["mos_std"].tolist() == [0.5, 0.5]
    assert t.loc[0, ["reference", "distortion", "level"]].tolist() == ["I01", "01 gaussian blur", 1]
    down = labels.read(replace(SMALL, scores=replace(SMALL.scores, higher_better=False)), tmp_path)
    assert down["quality"].tolist() == [0.0, 1.0]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"dmos": [4.0, np.nan]}, "'I01_01_02.png' has no score"),
        ({"dmos": [40.0, 20.0]}, "another scale or version"),
        ({"dmos": [4.0, 3.9]}, "another scale or version"),
        ({"dmos": ["good", "bad"]}, "is corrupt .*could not convert.*; fetch it again"),
        ({"dist_img": ["I01_01_01.png"] * 2}, "rated twice"),
        ({"dist_img": ["I01_01_01.png", "holiday.png"]}, "not part of this database"),
        ({"dist_img": ["I01_01_01.png", "I01_99_02.png"]}, "not part of this database"),
    ],
)
def test_wrong_scores_are_refused(tmp_path, changes, words):
    kadid(**changes).to_csv(tmp_path / "dmos.csv", index=False)
    with pytest.raises(UserError, match=words) as error:
        labels.read(SMALL, tmp_path)
    assert "\n" not in str(error.value)


def test_count_and_absence_are_reported(tmp_path):
    with pytest.raises(UserError, match="no score file below"):
        labels.read(SMALL, tmp_path)
    kadid().to_csv(tmp_path / "dmos.csv", index=False)
    with pytest.raises(UserError, match="has 2 images, not 10125"):
        labels.read(databases.get("kadid10k"), tmp_path)
