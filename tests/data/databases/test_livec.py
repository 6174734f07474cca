"""LIVE Challenge: the .mat files to the last bit, without the training images."""

from grmp.data import databases, labels
from tests.data import layouts


def test_livec_equals_the_mat_files_exactly(shared):
    data, every = shared / layouts.LIVEC, layouts.release(shared)
    t, study = labels.read(databases.get("livec"), data).set_index("image"), every[7:].set_index("img_name")
    assert (t.loc[study.index, ["mos", "mos_std"]].to_numpy() == study[["mos", "std"]].to_numpy()).all()
    assert not t.index.str.startswith("t").any()
    kept = labels.read(databases.get("livec"), data, keep_excluded=True)
    assert len(kept) == 1169
    assert sorted(kept["image"], key=databases.get("livec").order) == every["img_name"].tolist()
