"""The images that a user names: files, and folders to search."""

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from grmp.data.decode import ENDINGS, HEIC, is_image
from grmp.errors import UserError
from grmp.files import claim, survey

RATINGS = ("ratings.csv", "votes.csv")  # of `grmp select` and `grmp rate`
VIDEOS = (".mp4", ".m4v", ".mov", ".avi", ".mkv", ".webm", ".mpg", ".mpeg")


def printable(path: Path) -> str:
    r"""The name of a file as valid UTF-8 text on one line, in any locale: other bytes and control characters as \xNN."""
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return re.sub(r"[\x00-\x1f\x7f]", lambda found: f"\\x{ord(found[0]):02x}", text)


def for_table(names: list[str]) -> list[str]:
    """``names``, which a table can hold. Raises UserError if one is not UTF-8, or readers of tables would change it."""
    if wrong := [name for name in names if name != name.encode(errors="replace").decode().strip() or "\r" in name]:
        what = "is not UTF-8, or has a space at an end or a carriage return"
        raise UserError(f"a table cannot name '{printable(Path(wrong[0]))}', which {what}; rename the file")
    return names


def find(given: Sequence[Path], left_out: Counter[str] | None = None) -> list[Path]:
    """The files, and the images below the folders, each once and in order; ``left_out`` counts the others by kind.

    Raises UserError if something does not exist, or a folder has no images.
    """
    found: dict[str, Path] = {}
    left_out = Counter() if left_out is None else left_out
    for path in given:
        if not path.exists():
            raise UserError(f"{path} not found; give image files, or folders of images")
        inside = [path]
        if path.is_dir():
            inside = []
            files, apart = survey(path)
            for name, _ in files:
                if is_image(one := path / name):
                    inside.append(one)
                else:
                    apart[one.suffix.lower() or "without ending"] += 1
            left_out.update(apart)
            if not inside:
                what = tally(apart) or "it is empty"
                videos = "; name videos for `grmp score` one by one" if {*VIDEOS} & apart.keys() else ""
                raise UserError(f"{path} has no images ({what}); readable: {', '.join(ENDINGS)}{videos}")
        elif not path.is_file():  # a pipe would never end
            raise UserError(f"{path} is not a regular file; give image files, or folders of images")
        for one in inside:
            if (place := os.path.realpath(one)) in found:
                left_out["given twice"] += 1
            found.setdefault(place, one)
    return list(found.values())


def claim_output(path: Path, ending: str = "") -> None:
    """Check that ``path`` can be written (`grmp.files.claim`) and is not an image, a video, a model or ratings of the user.

    A shell that expands ``-o *.jpg`` names the first photograph. A binary file is replaced only if it has the ``ending`` of
    what is written; another ending is refused. Raises UserError.
    """
    if path.suffix != ending and ending and not path.is_dir():
        raise UserError(f"{path}: give it the ending {ending}")
    if path.is_file() and (path.name in RATINGS or is_image(path) or _is_of_the_user(path, ending)):
        raise UserError(f"{path} exists and was not written by this command; name another file")
    claim(path)


def _is_of_the_user(path: Path, ending: str) -> bool:
    """Whether a file is binary without the ``ending``, or begins with the columns of ratings, which no output of ours has."""
    with path.open("rb") as file:
        head = file.read(1000)
    text = re.sub(r'^"?sep=.*\n\s*', "", head.decode(errors="replace").lower().lstrip())
    columns = set(re.findall(r"\w+", text.partition("\n")[0]))
    binary = b"\0" in head and path.suffix != ending  # also a table in UTF-16
    return binary or {"image", "mos"} <= columns or {"better", "worse"} <= columns


def tally(left_out: Counter[str]) -> str:
    """The files that are left out, as one clause; empty if there are none."""
    text = ", ".join(f"{count} {printable(Path(kind))}" for kind, count in sorted(left_out.items()))
    heic = {".heic", ".heif"} & left_out.keys()
    return f"left out: {text}" + (f"; {HEIC}" if heic else "") if text else ""
