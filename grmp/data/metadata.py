"""Bytes of image files: metadata that cannot be parsed must not keep the pixels from being read, missing data must."""

import io
import itertools
import zlib
from collections.abc import Iterator

from PIL import Image

PNG, JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"
START_OF_SCAN, APPLICATION, COMMENT = 0xDA, range(0xE0, 0xF0), 0xFE  # markers of JPEG
JFIF, ADOBE = 0xE0, 0xEE  # say how components are stored
COMPRESSED = (b"WEBP", b"avif", b"avis", b"heic", b"heix", b"mif1")  # bytes 8 to 12; they hold no long runs of zeros
Part = tuple[bytes, bool]  # bytes of a file, and whether they are optional


def parts(data: bytes) -> Iterator[Part]:
    """The chunks of a PNG, the segments of a JPEG and its scans as one; of other formats the whole file."""
    if data.startswith(PNG):
        yield PNG, False
        at = len(PNG)
        while at < len(data):
            end = at + 12 + int.from_bytes(data[at : at + 4], "big")
            yield data[at:end], data[at + 4 : at + 5].islower()  # lower case: ancillary
            at = end
    elif data.startswith(JPEG):
        yield JPEG, False
        at = len(JPEG)
        while data[at : at + 1] == b"\xff" and at + 4 <= len(data) and (marker := data[at + 1]) != START_OF_SCAN:
            end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
            yield data[at:end], marker in APPLICATION or marker == COMMENT
            at = end
        yield data[at:], False
    else:
        yield data, False


def without_corrupt(data: bytes, formats: tuple[str, ...]) -> bytes:
    """The file without each optional part with which Pillow cannot open it. ``formats`` are those to recognize."""
    found = list(parts(data))
    critical = [part for part, optional in found if not optional]
    at = 2 if data.startswith(PNG) else 1  # behind the header, where Pillow reads it before the pixels

    def parses(part: bytes) -> bool:
        try:
            Image.open(io.BytesIO(b"".join([*critical[:at], part, *critical[at:]])), formats=formats).close()
        except Exception:  # corrupt metadata raise anything
            return False
        return True

    return b"".join(part for part, optional in found if not optional or parses(part))


def gap(data: bytes) -> str:
    """What a PNG, WebP, AVIF or HEIC lacks, where decoders invent pixels; empty if nothing does, and for other formats."""
    if data.startswith(PNG):
        for part, optional in itertools.islice(parts(data), 1, None):
            if not optional and zlib.crc32(part[4:-4]) != int.from_bytes(part[-4:], "big"):
                return f"the checksum of {part[4:8]!r} is wrong"
            if part[4:8] == b"IEND":
                break
    end = data[-max(1024, len(data) // 10) :]  # a sound WebP may end in zeros, up to 6 % of it
    empty = data[8:12] in COMPRESSED and not end.strip(b"\0")
    return "its end holds zeros alone, as an interrupted copy does" if empty else ""


def without_optional(data: bytes) -> bytes:
    """The file without optional parts, but those that say how the components of a JPEG are stored."""
    return b"".join(part for part, optional in parts(data) if not optional or part[1] in (JFIF, ADOBE))
