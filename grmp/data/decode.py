"""Image files -> arrays: the one decoder of every command."""

import struct
from pathlib import Path

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

ENDINGS = (".bmp", ".jpg", ".jpeg", ".png")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")  # of 8 bits per channel
TURNS = {  # EXIF orientation -> what brings the image upright
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def read_image(path: Path, size: int, aspect: str, upright: bool = False) -> np.ndarray:
    """One image as (3, size, size) uint8, resized with Pillow's bicubic filter.

    ``aspect`` is "squash" (as the released code) or "keep": shorter side to ``size``, then the centre. ``upright`` applies
    the EXIF orientation.
    """
    with Image.open(path) as opened:
        if opened.mode not in MODES:
            raise ValueError(f"pixels of mode {opened.mode}; save it with 8 bits per channel")
        image = opened.convert("RGB")
        turn = TURNS.get(opened.getexif().get(ExifTags.Base.Orientation, 1)) if upright else None
    if turn is not None:
        image = image.transpose(turn)
    box = None
    if aspect == "keep":
        side = min(image.size)
        left, top = (image.width - side) / 2, (image.height - side) / 2
        box = (left, top, left + side, top + side)
    return np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=box)).transpose(2, 0, 1)


def try_image(path: Path, size: int, aspect: str, upright: bool = False) -> np.ndarray | str:
    """``read_image``, or the reason why there is no image."""
    try:
        return read_image(path, size, aspect, upright)
    except UnidentifiedImageError:
        return "broken"
    except FileNotFoundError:
        return "missing"
    except (OSError, ValueError, SyntaxError, struct.error, Image.DecompressionBombError) as error:
        return f"broken: {error}"
