"""What the mirrors' addresses look like; sizes are checked only where they are exact."""

from grmp.data.databases import _mirrors


def test_addresses():
    source = _mirrors.pyiqa("a.tgz", 123_456, _mirrors.pyiqa_table("A"), "0" * 64)
    archive, table = source.files
    assert archive.url == "hf://datasets/chaofengc/IQA-PyTorch-Datasets/a.tgz"
    assert table.url == "hf://datasets/chaofengc/IQA-PyTorch-Datasets-metainfo/meta_info_ADataset.csv"
    assert (archive.exact, table.exact) == (True, False)
    assert not _mirrors.pyiqa("a.tgz", 123_000, table).files[0].exact
    assert _mirrors.waterloo_list("A", "0" * 64).url.endswith("/csv/A.txt")
    assert [f.url for f in _mirrors.official("https://x/", **{"a.zip": 1, "b.csv": 2}).files] == [
        "https://x/a.zip",
        "https://x/b.csv",
    ]
