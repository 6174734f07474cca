"""The entry of a database: where its files are, what they contain, and under which terms they may be used."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import pandas as pd


class Absent(Exception):
    """No file has the name that a reader asks for."""


class Files(dict[str, Path]):
    """File name in lower case -> path; where a name occurs twice, the shortest path."""

    def __missing__(self, name: str) -> Path:
        raise Absent(name)


Reader = Callable[[Files], pd.DataFrame]


@dataclass(frozen=True)
class File:
    """A file to download, from a plain address or from ``hf://datasets/<owner>/<repository>/<file>``.

    ``git+<url>@<commit>`` means all files of a commit.
    """

    url: str
    size: int  # bytes, for the plan; some are estimates
    sha256: str = ""  # empty: the first one seen is recorded in data/checksums.json and required from then on


@dataclass(frozen=True)
class Source:
    """Files that together make the database."""

    label: str
    files: tuple[File, ...]
    tree: str = ""  # git's id of the complete content, checked where it is known


@dataclass(frozen=True)
class Scores:
    """The published ratings, measured on real copies; 0 means "not checked"."""

    count: int
    low: float  # quality is 0 at the worse end of the range
    high: float
    mean: float = 0.0
    sd: float = 0.0
    higher_better: bool = True


class Name(NamedTuple):
    """What the file name of an image says; empty strings where it says nothing."""

    image: str
    reference: str = ""
    distortion: str = ""
    level: str = ""


def file_name(path: str) -> Name:
    """The name without folders."""
    return Name(PurePosixPath(path).name)


def folder_and_name(path: str) -> Name:
    """The name with the folder it is in."""
    return Name("/".join(PurePosixPath(path).parts[-2:]))


@dataclass(frozen=True)
class Database:
    """One entry.

    ``readers`` are tried in order, the next one where one raises Absent. Each makes the files below the unpacked folder a
    table with ``name, mos`` and any of ``mos_std, reference, distortion, level, set``.
    """

    name: str
    title: str
    kind: str  # synthetic, authentic or simulated
    scores: Scores
    sources: tuple[Source, ...]  # tried in order
    readers: tuple[Reader, ...]
    disk: int  # bytes unpacked, estimated
    page: str
    by_hand: str  # how to get it where no source can be downloaded
    terms: str
    citation: str
    parse: Callable[[str], Name] = file_name  # of the names in a score file; raises on a name of another database
    distortions: tuple[str, ...] = ()  # all types of a complete copy, as ``parse`` names them
    order: Callable[[str], Any] = str  # sort key of ``Name.image``: the order of the publisher's score file
    exclude: str = ""  # regular expression: images that the publisher does not count as part of the study
    side: int = 0  # median shorter side of its images in pixels, at least; resized copies are rejected
    shared: Mapping[str, tuple[str, ...]] = field(default_factory=dict)  # database -> source images that it has as well
    pixels: str = ""  # "512x384", where all images have this size
    prefer: str = ""  # folder to take an image from where a copy has several sizes of it

    @property
    def download(self) -> int:
        """Bytes to download from the first source."""
        return sum(file.size for file in self.sources[0].files) if self.sources else 0


def numbered(types: str) -> tuple[str, ...]:
    """``"blur,noise"`` -> ``("01 blur", "02 noise")``: the publisher's numbers make types sort in the publisher's order."""
    return tuple(f"{i:02} {name.strip()}" for i, name in enumerate(types.split(","), start=1))
