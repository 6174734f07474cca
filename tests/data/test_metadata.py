"""Parts of image files: together they are the file, and optional ones can go."""

import io

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from grmp.data.metadata import parts, without_corrupt, without_optional

PHOTO = Image.fromarray(np.random.default_rng(0).integers(0, 256, (24, 32, 3), dtype=np.uint8))
TEXT = PngImagePlugin.PngInfo()
TEXT.add_text("Comment", "taken at noon")


def made(kind: str) -> bytes:
    out = io.BytesIO()
    PHOTO.save(out, kind, **({"pnginfo": TEXT} if kind == "PNG" else {"comment": b"taken at noon"}))
    return out.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_parts_are_the_whole_file(kind: str):
    assert b"".join(part for part, _ in parts(made(kind))) == made(kind)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_optional_parts_hold_no_pixels(kind: str):
    data = made(kind)
    assert b"taken at noon" in data
    assert b"taken at noon" not in without_optional(data)
    assert (
        np.asarray(Image.open(io.BytesIO(without_optional(data)))) == np.asarray(Image.open(io.BytesIO(data)))
    ).all()


def test_sound_metadata_stay():
    assert without_corrupt(made("PNG"), ("PNG",)) == made("PNG")
