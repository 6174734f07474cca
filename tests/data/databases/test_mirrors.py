"""What the mirrors' addresses look like."""

from grmp.data.databases import _mirrors


def test_addresses():
    source = _mirrors.pyiqa("a.tgz", 123_456, _mirrors.pyiqa_table("A"), "0" * 64)
    archive, table = source.files
    assert archive.url == "hf://datasets/chaofengc/IQA-PyTorch-Datasets/a.tgz"
    assert table.url == "hf://datasets/chaofengc/IQA-PyTorch-Datasets-metainfo/meta_info_ADataset.csv"
    scores = _mirrors.waterloo_list("A", _mirrors.NEW, "0" * 64)
    assert scores.url.endswith(f"{_mirrors.NEW}A.txt")
    assert _mirrors.waterloo("A", 1, scores).files[1] is scores
    assert _mirrors.cityu("a.zip", 1, scores, "1" * 64).files[0].url == "hf://datasets/VQA-CityU/IQA_data/a.zip"
    assert [f.url for f in _mirrors.official("https://x/", **{"a.zip": 1, "b.csv": 2}).files] == [
        "https://x/a.zip",
        "https://x/b.csv",
    ]
