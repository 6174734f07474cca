"""A prepared database is loaded completely or refused in one line; which images share a source."""

import pandas as pd
import pytest

from grmp.data import dataset
from grmp.data.prepare import prepare
from grmp.errors import UserError


@pytest.mark.parametrize("file", ["index.csv", "images.npy", "info.json"])
def test_corrupt_files_are_reported(fetched, file):
    prepare("toy", fetched / "raw", fetched / "prepared", 8, "squash")
    path = fetched / "prepared/toy" / file
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UserError, match=r"run: grmp data (fetch toy && grmp data )?prepare toy"):
        dataset.load(fetched / "prepared/toy")
    path.unlink()
    with pytest.raises(UserError, match="not found; run: grmp data fetch toy && grmp data prepare toy"):
        dataset.load(fetched / "prepared/toy")


def test_the_images_of_a_pipeline_are_found_however_they_are_resized(fetched):
    assert dataset.prepared(fetched, "toy") is None
    prepare("toy", fetched / "raw", fetched / "data/prepared", 8, "squash", views=["opencv"])
    assert dataset.prepared(fetched, "toy").images.shape == (9, 3, 8, 8)


def test_images_of_one_reference_share_a_source():
    index = pd.DataFrame({"image": ["a", "b", "c", "d"], "reference": ["y", None, "y", "x"]})
    assert dataset.source_ids(index).tolist() == [2, 0, 2, 1]
