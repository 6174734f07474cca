"""LIVE Challenge: the .mat files to the last bit, without the training images."""

from scipy.io import loadmat

from grmp.data import databases, labels


def test_livec_equals_the_mat_files_exactly(shared):
    data = shared / "real/clive/ChallengeDB_release/Data"
    t = labels.read(databases.get("livec"), data).set_index("image")
    every = [str(c[0]) for c in loadmat(data / "AllImages_release.mat")["AllImages_release"].ravel()]
    names = every[7:]
    assert (t.loc[names, "mos"].to_numpy() == loadmat(data / "AllMOS_release.mat")["AllMOS_release"].ravel()[7:]).all()
    std = loadmat(data / "AllStdDev_release.mat")["AllStdDev_release"].ravel()[7:]
    assert (t.loc[names, "mos_std"].to_numpy() == std).all()
    assert not t.index.str.startswith("t").any()
    kept = labels.read(databases.get("livec"), data, keep_excluded=True)
    assert len(kept) == 1169
    assert sorted(kept["image"], key=databases.get("livec").order) == every
