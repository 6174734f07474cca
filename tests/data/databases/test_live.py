"""LIVE: the realigned scores, whatever copy they come from."""

import numpy as np
import pandas as pd
import pytest

from grmp.data import databases, labels
from grmp.errors import UserError
from tests.data import layouts
from tests.data.databases.test_all import folder_of


def score_files(shared, refnames=True):
    """An official copy without its images."""
    made = layouts.live(shared, refnames)
    tree = {k: v for k, v in made["databaserelease2.zip"].items() if k.endswith((".mat", ".txt"))}
    return tree | {"dmos_realigned.mat": made["dmos_realigned.mat"]}


def test_live_equals_its_list(shared, tmp_path):
    """The realigned scores of the .mat file land on the pictures that the Waterloo list gives them to."""
    t = labels.read(databases.get("live"), folder_of("live", shared, tmp_path)).set_index("image")
    truth = layouts.real(shared, "live")
    names = truth["dis_img_path"].str.removeprefix("LIVE/")
    np.testing.assert_allclose(t.loc[names, "mos"], truth["score"], rtol=0, atol=1e-12)
    kodak = set(databases.get("live").shared["tid2013"])
    assert (len(kodak), len(kodak & set(t["reference"])), t["reference"].nunique()) == (19, 19, 29)


def test_live_by_info_txt(shared, tmp_path):
    """A copy whose refnames_all.mat and orgs have 779 entries in another order gives the same references."""
    copies = (layouts.unpack(score_files(shared, whole), tmp_path / str(whole)) for whole in (True, False))
    a, b = (labels.read(databases.get("live"), copy) for copy in copies)
    pd.testing.assert_frame_equal(a, b)
    truth = layouts.real(shared, "live").set_index("dis_img_path")["ref_img_path"]
    assert a["reference"].tolist() == [truth["LIVE/" + n].split("/")[-1][:-4] for n in a["image"]]


def test_references_that_contradict_each_other_are_named(shared, tmp_path):
    tree = score_files(shared)
    (info,) = (k for k in tree if k.endswith("jpeg/info.txt"))
    tree[info] = b"other.bmp " + tree[info].split(b" ", 1)[1]
    with pytest.raises(UserError, match="name different references of 1 images, such as jpeg/img"):
        labels.read(databases.get("live"), layouts.unpack(tree, tmp_path))
