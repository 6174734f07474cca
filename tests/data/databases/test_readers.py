"""Readers that several databases share."""

import numpy as np
import pytest

from grmp.data.databases import _readers
from grmp.data.databases._entry import Absent, Files
from grmp.errors import UserError
from tests.data import layouts


def test_workbook_finds_its_header_in_any_row(tmp_path):
    path = tmp_path / "a.xlsx"
    path.write_bytes(layouts.sheet([["Name", "x", "MOS "], ["a", 1, 2.5], [None, None, None], ["b", 2, 3.5]], above=3))
    table = _readers.workbook(path, "mos", "name")
    assert table.to_numpy().tolist() == [[2.5, "a"], [3.5, "b"]]
    with pytest.raises(UserError, match="has no columns mos, level"):
        _readers.workbook(path, "mos", "level")


def test_matlab_numbers_and_cells(tmp_path):
    (tmp_path / "a.mat").write_bytes(layouts.mat(x=np.array([[1, 2]], np.uint8), names=layouts.cells(["a", "b"])))
    assert _readers.matlab(tmp_path / "a.mat", "x").tolist() == [1.0, 2.0]
    assert _readers.matlab(tmp_path / "a.mat", "names").tolist() == ["a", "b"]


def test_mirror_files(tmp_path):
    layouts.unpack(
        {
            "readme.txt": b"nothing",
            "A.txt": b"dis_img_path,dis_type,score\nd/a.png,1,2.5\n",
            "meta_info_ADataset.csv": b"Img_name,c1,c2,c3,c4,c5,std,official_split\na.png,0.5,0,0,0,0.5,1,train\n",
        },
        tmp_path,
    )
    files = Files({p.name.lower(): p for p in tmp_path.iterdir()})
    assert _readers.mirror_list(files).to_dict("list") == {"name": ["d/a.png"], "mos": [2.5]}
    table = _readers.mirror_table(files)
    assert table.to_dict("list") == {"name": ["a.png"], "mos": [3.0], "mos_std": [1], "set": ["train"]}
    assert "set" not in _readers.mirror_table_without_sets(files)
    for reader in (_readers.mirror_list, _readers.mirror_table):
        with pytest.raises(Absent):
            reader(Files())
