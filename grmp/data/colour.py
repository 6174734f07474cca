"""Colour spaces of image files: the ICC profile that a file embeds, or that says what else it states; conversion to sRGB.

Where formats leave a choice, it is Chromium's: a PNG's cICP chunk comes before a profile, sRGB and gAMA with cHRM behind it;
the codes of an AVIF or HEIC count where there is no profile.
"""

import contextlib
import io
import struct
from functools import lru_cache
from typing import Any

import numpy as np
from PIL import Image, ImageCms

SPACES = {"RGB": "RGB", "CMYK": "CMYK", "GRAY": "L"}  # of an ICC profile -> Pillow's mode
SAME = 2  # grey levels by which a profile of sRGB may differ from littlecms' own
PROFILE = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
D50 = 0.9642, 1, 0.8249  # the white of profiles
BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])
D65 = 0.3127, 0.329
P3 = 0.68, 0.32, 0.265, 0.69, 0.15, 0.06
SRGB = *D65, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06
PRIMARIES = {  # of ITU-T H.273 -> x and y of white, red, green and blue
    1: SRGB,
    5: (*D65, 0.64, 0.33, 0.29, 0.6, 0.15, 0.06),
    6: (*D65, 0.63, 0.34, 0.31, 0.595, 0.155, 0.07),
    9: (*D65, 0.708, 0.292, 0.17, 0.797, 0.131, 0.046),
    11: (0.314, 0.351, *P3),
    12: (*D65, *P3),
}
HDR = -1.0
GAMMAS = {4: 2.2, 5: 2.8, 8: 1.0, 13: 0.0, 16: HDR, 18: HDR}  # 0: sRGB's curve
VIDEO = dict.fromkeys((1, 6, 11, 14, 15), 2.4)  # in a PNG; elsewhere sRGB's curve


class Unsupported(ValueError):
    """An image that is whole, but of a kind that is not read."""


def profile(opened: Image.Image, data: bytes) -> bytes | None:
    """The ICC profile of the pixels of a file, whose bytes are ``data``; None if it states nothing but sRGB.

    Raises Unsupported for HDR.
    """
    info, kind, embedded = opened.info, opened.format, opened.info.get("icc_profile")
    if kind == "BMP" and data[70:74] == b"DEBM":
        start, size = struct.unpack_from("<II", data, 126)
        return data[14 + start : 14 + start + size]
    if kind == "PNG" and (at := data.find(b"\0\0\0\4cICP", 0, data.find(b"IDAT"))) > 0:
        code, curve, matrix_and_range = struct.unpack_from(">BBH", data, at + 8)
        if code in PRIMARIES and curve in GAMMAS | VIDEO and matrix_and_range == 1:
            return _made(PRIMARIES[code], (GAMMAS | VIDEO)[curve])
    if kind in ("AVIF", "HEIF") and not embedded and (at := data.find(b"colrnclx")) > 0:
        code, curve = struct.unpack_from(">HH", data, at + 8)
        return _made(PRIMARIES.get(code, SRGB), GAMMAS.get(curve, 0.0))
    gamma, primaries = info.get("gamma", 0), info.get("chromaticity", SRGB)
    if embedded or "srgb" in info or not 0.01 < gamma < 10:
        return embedded
    plain = abs(gamma * 2.2 - 1) <= 0.05 and np.allclose(primaries, SRGB, atol=0.005)  # programs mean sRGB
    return None if plain else _made(primaries, 1 / gamma)


def _made(primaries: tuple[float, ...], gamma: float) -> bytes | None:
    """A profile of ``primaries`` with a plain gamma, or sRGB's curve if that is 0; None if no light has such primaries."""
    if gamma == HDR:
        raise Unsupported("HDR (PQ or HLG), which viewers show differently; save it as SDR, in sRGB")
    made = bytearray(PROFILE)
    with contextlib.suppress(ValueError, struct.error), np.errstate(all="ignore"):
        xy = np.reshape(primaries, (4, 2))
        white, *lights = np.column_stack([xy, 1 - xy.sum(axis=1)]) / xy[:, 1:]
        adapted = np.linalg.solve(BRADFORD, (BRADFORD @ D50 / (BRADFORD @ white))[:, None] * BRADFORD)
        columns = adapted @ np.transpose(lights) * np.linalg.solve(np.transpose(lights), white)
        for i in range(int.from_bytes(made[128:132], "big")):
            name, at, _ = struct.unpack_from(">4sII", made, 132 + 12 * i)
            if name in (b"rXYZ", b"gXYZ", b"bXYZ"):
                struct.pack_into(">3i", made, at + 8, *(round(65536 * v) for v in columns[:, b"rgb".index(name[0])]))
            elif name.endswith(b"TRC") and gamma:
                struct.pack_into(">5i", made, at + 12, round(65536 * gamma), 65536, 0, 0, 0)
        return bytes(made)
    return None


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert L, RGB or CMYK with an ICC profile; a profile that is corrupt or of another colour space is ignored."""
    if profile:
        with contextlib.suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError, LookupError):
            mode, transform = _transform(profile)
            image = image.convert("RGB") if (image.mode, mode) == ("L", "RGB") else image
            if transform and image.mode == mode and (converted := ImageCms.applyTransform(image, transform)):
                return converted
    return image.convert("RGB")


@lru_cache(maxsize=16)
def _transform(profile: bytes) -> tuple[str, Any]:
    """The mode to which a profile belongs, and mode -> sRGB; None where it is sRGB already."""
    source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
    mode = SPACES[source.profile.xcolor_space.strip()]
    transform = ImageCms.buildTransform(source, ImageCms.createProfile("sRGB"), mode, "RGB")
    if mode != "RGB":
        return mode, transform
    colours = Image.fromarray(np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8))
    changed = np.asarray(ImageCms.applyTransform(colours, transform), int) - np.asarray(colours)
    return mode, transform if np.abs(changed).max() > SAME else None
