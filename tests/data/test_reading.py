"""The table of docs/reading.md: how a file is made, and what comes out. Right pixels are computed without the decoder."""

import io
import math
import re
import struct
import subprocess
import zlib
from pathlib import Path

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image, ImageCms
from skimage import color, data

from grmp.data import decode
from grmp.data.decode import load, read_images
from grmp.finetune import scorer
from tests.report.browser import PROGRAM

PHOTO = Image.fromarray(data.coffee())
RGB = np.asarray(PHOTO)
GREY = np.asarray(PHOTO.convert("L"))
MASK = np.zeros(GREY.shape, np.uint8)
MASK[40:150, 60:240] = 255
SEEN = MASK[..., None] > 0
ON_WHITE = np.where(SEEN, RGB, 255)
CUT = np.where(SEEN, RGB, 0)
WIDE = RGB.astype(np.uint16) * 257
SRGB = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def profile(space: bytes, tags: dict[bytes, bytes], of: bytes = b"XYZ ") -> bytes:
    """An ICC profile of version 2."""
    white = struct.pack(">iii", 63190, 65536, 54061)
    tags = {
        b"desc": b"desc" + bytes(4) + struct.pack(">I", 5) + b"test\0" + bytes(78),
        b"cprt": b"text" + bytes(4) + b"x\0",
    } | tags
    tags |= {b"wtpt": b"XYZ " + bytes(4) + white}
    table, body, start = b"", b"", 132 + 12 * len(tags)
    for name, value in tags.items():
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value + bytes(-len(value) % 4)
    head = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02100000, b"mntr", space, of) + bytes(12) + b"acsp"
    return (head + bytes(28) + white).ljust(128, b"\0") + struct.pack(">I", len(tags)) + table + body


def gamma(value: float) -> bytes:
    return b"curv" + bytes(4) + struct.pack(">IH", 1, round(256 * value))


def matrix(swap: bool, value: float, name: bytes = b"") -> bytes:
    """sRGB's primaries, red and blue exchanged if ``swap``, with a plain gamma."""
    columns = [(0.4361, 0.2225, 0.0139), (0.3851, 0.7169, 0.0971), (0.1431, 0.0606, 0.7142)]
    xyz = [
        b"XYZ " + bytes(4) + struct.pack(">iii", *(round(65536 * v) for v in c)) for c in columns[:: -1 if swap else 1]
    ]
    tags = dict(zip((b"rXYZ", b"gXYZ", b"bXYZ"), xyz, strict=True)) | dict.fromkeys(
        (b"rTRC", b"gTRC", b"bTRC"), gamma(value)
    )
    if name:
        tags[b"desc"] = b"desc" + bytes(4) + struct.pack(">I", len(name) + 1) + name + bytes(79)
    return profile(b"RGB ", tags)


def press() -> bytes:
    """CMYK in which every ink takes light: L* falls with any ink, cyan and yellow have their hue."""
    ramp = bytes(range(256))
    grid = []
    for c, m, y, k in np.ndindex(2, 2, 2, 2):
        light = (1 - 0.4 * c) * (1 - 0.45 * m) * (1 - 0.1 * y) * (1 - k)
        hue = 1 - k
        grid += [round(255 * light), 128 + round(hue * (40 * m - 20 * c)), 128 + round(hue * (40 * y - 25 * c - 5 * m))]
    identity = struct.pack(">9i", 65536, 0, 0, 0, 65536, 0, 0, 0, 65536)
    table = (
        b"mft1"
        + bytes(4)
        + bytes([4, 3, 2, 0])
        + identity
        + ramp * 4
        + bytes(np.clip(grid, 0, 255).tolist())
        + ramp * 3
    )
    return profile(b"CMYK", {b"A2B0": table}, b"Lab ")


def chunk(name: bytes, content: bytes, flaw: int = 0) -> bytes:
    """Of a PNG file; its checksum is wrong with a ``flaw``."""
    check = struct.pack(">I", zlib.crc32(name + content) ^ flaw)
    return struct.pack(">I", len(content)) + name + content + check


def png(image: np.ndarray, name: bytes, content: bytes, flaw: int = 0, **options: object) -> bytes:
    """A PNG file with one more chunk behind its header."""
    whole = pil(image, "PNG", **options)
    return whole[:33] + chunk(name, content, flaw) + whole[33:]


def grey_png(depth: int, rows: list[bytes], name: bytes, content: bytes, kind: int = 0) -> bytes:
    """A PNG file as wide as the photograph, of ``depth`` bits per channel, with one more chunk; ``kind`` 4 has alpha."""
    head = struct.pack(">IIBBBBB", PHOTO.width, len(rows), depth, kind, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    parts = [(b"IHDR", head), (name, content), (b"IDAT", pixels), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*part) for part in parts)


def jpeg(marker: int, content: bytes) -> bytes:
    """A JPEG file with one more segment at its start."""
    whole = pil(PHOTO, "JPEG", quality=97, subsampling=0)
    return whole[:2] + bytes([255, marker]) + struct.pack(">H", len(content) + 2) + content + whole[2:]


FAST = {
    "PNG": {"compress_level": 1},
    "WEBP": {"method": 0},
    "AVIF": {"speed": 10},
    "HEIF": {"enc_params": {"preset": "ultrafast"}},
}


def pil(image: np.ndarray | Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    shown = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    shown.save(out, kind, **FAST.get(kind, {}) | options)
    return out.getvalue()


def tiff(image: np.ndarray, **options: object) -> bytes:
    out = io.BytesIO()
    tifffile.imwrite(out, image, **options)
    return out.getvalue()


def linear(image: np.ndarray) -> np.ndarray:
    share = image / 255
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def encoded(image: np.ndarray, value: float) -> np.ndarray:
    """The same light, stored with a plain gamma instead of sRGB's curve."""
    return np.round(255 * linear(image) ** (1 / value)).astype(np.uint8)


# linear light -> XYZ with the white D65, from CSS Color Module Level 4
TO_XYZ = {
    "sRGB": (
        (0.41239080, 0.35758434, 0.18048079),
        (0.21263901, 0.71516868, 0.07219232),
        (0.01933082, 0.11919478, 0.95053215),
    ),
    "P3": ((0.48657095, 0.26566769, 0.19821729), (0.22897456, 0.69173852, 0.07928691), (0.0, 0.04511338, 1.04394437)),
    "2020": ((0.63695805, 0.14461690, 0.16888098), (0.26270021, 0.67799807, 0.05930172), (0.0, 0.02807269, 1.06098506)),
    "Adobe": (
        (0.57666904, 0.18555824, 0.18822865),
        (0.29734498, 0.62736357, 0.07529146),
        (0.02703136, 0.07068885, 0.99133754),
    ),
}


def within(space: str, value: float = 0.0, image: np.ndarray | None = None) -> np.ndarray:
    """The same colours of the photograph in another space, with a plain gamma or, by default, with sRGB's curve."""
    light = linear(RGB if image is None else image) @ np.transpose(TO_XYZ["sRGB"])
    light = (light @ np.linalg.inv(TO_XYZ[space]).T).clip(0, 1)
    curve = np.where(light <= 0.0031308, 12.92 * light, 1.055 * light ** (1 / 2.4) - 0.055)
    return np.round(255 * (light ** (1 / value) if value else curve)).astype(np.uint8)


def coded(kind: str, primaries: int, curve: int, image: np.ndarray) -> bytes:
    """An AVIF or HEIC that states these codes of ITU-T H.273."""
    whole = pil(image, kind, quality=100, **({"chroma": 444} if kind == "HEIF" else {"subsampling": "4:4:4"}))
    at = whole.index(b"colrnclx") + 8
    return whole[:at] + struct.pack(">HH", primaries, curve) + whole[at + 4 :]


def chromaticities(*values: float) -> tuple[bytes, bytes]:
    return b"cHRM", struct.pack(">8I", *(round(100_000 * v) for v in values))


def gama_too(file: bytes, value: float) -> bytes:
    """The PNG file with a gAMA chunk behind its header."""
    return file[:33] + chunk(b"gAMA", struct.pack(">I", round(100_000 / value))) + file[33:]


ADOBE = chromaticities(0.3127, 0.329, 0.64, 0.33, 0.21, 0.71, 0.15, 0.06)
OF_SRGB = chromaticities(0.3127, 0.329, 0.64, 0.33, 0.3, 0.6, 0.15, 0.06)
IN_P3 = bytes([12, 13, 0, 1])


def bmp(image: np.ndarray, embedded: bytes) -> bytes:
    """A BMP file of version 5 with a profile."""
    pixels = image[::-1, :, ::-1].tobytes()  # a multiple of 4 bytes per row
    head = struct.pack("<IiiHHIIiiII", 124, image.shape[1], image.shape[0], 1, 24, 0, len(pixels), 2835, 2835, 0, 0)
    head += bytes(16) + b"DEBM" + bytes(48) + struct.pack("<IIII", 4, 124 + len(pixels), len(embedded), 0)
    return b"BM" + struct.pack("<IHHI", 138 + len(pixels + embedded), 0, 0, 138) + head + pixels + embedded


SIXTEEN = np.round(GREY / 17).astype(np.uint8)  # levels of grey
NARROW = [row.tobytes() for row in SIXTEEN[:, ::2] << 4 | SIXTEEN[:, 1::2]]
GREY_18 = encoded(GREY, 1.8)
OF_GREY = profile(b"GRAY", {b"kTRC": gamma(1.8)})
WIDE_18 = [row.tobytes() for row in np.dstack([GREY_18 * 257.0, np.full(GREY.shape, 65535)]).astype(">u2")]
ORIENTED = Image.Exif()
ORIENTED[0x0112] = 6
BACK = np.rot90(RGB)  # a viewer turns it a quarter to the right
GREY3 = np.repeat(GREY[..., None], 3, 2)
SWAPPED, EXCHANGED = encoded(RGB[..., ::-1], 2.2), matrix(True, 2.2)
RGB_18 = encoded(RGB, 1.8)
PALETTE = PHOTO.quantize(255)
COLOURS = np.asarray(PALETTE.convert("RGB"))
WITH_HOLE = np.where(MASK > 0, np.asarray(PALETTE), 255).astype(np.uint8)
HOLED = Image.fromarray(WITH_HOLE, "P")
DARK_FIRST = PALETTE.remap_palette(range(254, -1, -1))  # of the colours
CORNER = np.zeros(GREY.shape, bool)
CORNER[:100, :200] = True
HOLED.putpalette(PALETTE.getpalette() + [0] * (768 - len(PALETTE.getpalette())))

SHOWN: dict[str, tuple[bytes, np.ndarray]] = {  # bytes of the file, and what a viewer shows
    "PNG": (pil(PHOTO, "PNG"), RGB),
    "JPEG": (pil(PHOTO, "JPEG", quality=97, subsampling=0), RGB),
    "progressive JPEG": (pil(PHOTO, "JPEG", quality=97, subsampling=0, progressive=True), RGB),
    "JPEG with bytes after its end": (pil(PHOTO, "JPEG", quality=97, subsampling=0) + bytes(999), RGB),
    "WebP": (pil(PHOTO, "WEBP", lossless=True), RGB),
    "BMP": (pil(PHOTO, "BMP"), RGB),
    "AVIF": (pil(PHOTO, "AVIF", quality=99, subsampling="4:4:4"), RGB),
    "TIFF, planes": (tiff(RGB.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"), RGB),
    "TIFF, the first page of two": (tiff(np.stack([RGB, RGB[::-1]]), photometric="rgb"), RGB),
    "first frame of a GIF": (pil(PALETTE, "GIF", save_all=True, append_images=[PALETTE.rotate(180)]), COLOURS),
    "first frame of a GIF that is smaller": (
        (g := pil(DARK_FIRST.crop((0, 0, 200, 100)), "GIF"))[:6] + struct.pack("<HH", *PHOTO.size) + g[10:],
        np.where(CORNER[..., None], COLOURS, 255),
    ),
    "first frame of an MPO": (pil(PHOTO, "MPO", quality=97, save_all=True, append_images=[PHOTO.rotate(180)]), RGB),
    "first frame of a PNG": (pil(PHOTO, "PNG", save_all=True, append_images=[PHOTO.rotate(180)]), RGB),
    "alpha": (pil(np.dstack([CUT, MASK]), "PNG"), ON_WHITE),
    "alpha, WebP": (pil(np.dstack([CUT, MASK]), "WEBP", lossless=True, exact=True), ON_WHITE),
    "alpha, TIFF": (tiff(np.dstack([CUT, MASK]), photometric="rgb", extrasamples=["unassalpha"]), ON_WHITE),
    "premultiplied alpha": (
        tiff(np.dstack([RGB // 2, np.full_like(GREY, 128)]), photometric="rgb", extrasamples=["assocalpha"]),
        RGB // 2 + 127.0,
    ),
    "half alpha, 16 bits": (
        cv2.imencode(".png", np.dstack([WIDE[..., ::-1], np.full(GREY.shape, 32768, np.uint16)]))[1].tobytes(),
        RGB / 2 + 127.5,
    ),
    "grey with alpha": (pil(np.dstack([GREY, MASK]), "PNG"), np.where(SEEN, GREY3, 255)),
    "palette with a transparent colour": (pil(HOLED, "PNG", transparency=255), np.where(SEEN, COLOURS, 255)),
    "grey of 4 bits with a transparent colour": (
        grey_png(4, NARROW, b"tRNS", b"\0\3"),
        np.repeat(np.where(SIXTEEN == 3, 255, SIXTEEN * 17)[..., None], 3, 2),
    ),
    "premultiplied alpha, grey": (
        tiff(np.dstack([GREY // 2, np.full_like(GREY, 128)]), photometric="minisblack", extrasamples=["assocalpha"]),
        GREY3 // 2 + 127.0,
    ),
    "alpha of a BMP that is 0 everywhere": (
        cv2.imencode(".bmp", np.dstack([RGB[..., ::-1], np.zeros_like(GREY)]))[1].tobytes(),
        RGB,
    ),
    "RGB with a transparent colour": (pil(CUT, "PNG", transparency=(0, 0, 0)), ON_WHITE),
    "profile of sRGB": (pil(PHOTO, "PNG", icc_profile=SRGB), RGB),
    "profile, exchanged primaries": (pil(SWAPPED, "PNG", icc_profile=EXCHANGED), RGB),
    "profile of gamma 1.8": (pil(RGB_18, "PNG", icc_profile=matrix(False, 1.8)), RGB),
    "profile of gamma 1.8 that is called sRGB": (pil(RGB_18, "TIFF", icc_profile=matrix(False, 1.8, b"not sRGB")), RGB),
    "profile in JPEG": (pil(SWAPPED, "JPEG", quality=97, subsampling=0, icc_profile=EXCHANGED), RGB),
    "profile in WebP": (pil(SWAPPED, "WEBP", lossless=True, icc_profile=EXCHANGED), RGB),
    "profile and alpha": (pil(np.dstack([encoded(CUT[..., ::-1], 2.2), MASK]), "PNG", icc_profile=EXCHANGED), ON_WHITE),
    "profile of grey": (pil(GREY_18, "PNG", icc_profile=OF_GREY), GREY3),
    "profile of grey, alpha, 16 bits": (
        grey_png(16, WIDE_18, b"iCCP", b"x\0\0" + zlib.compress(OF_GREY), kind=4),
        GREY3,
    ),
    "grey with a profile of RGB": (pil(GREY_18, "PNG", icc_profile=matrix(False, 1.8)), GREY3),
    "Lab": (
        pil(
            ImageCms.profileToProfile(
                PHOTO, ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), outputMode="LAB"
            ),
            "TIFF",
        ),
        RGB,
    ),
    "CMYK without a profile": (pil(PHOTO.convert("CMYK"), "TIFF"), RGB),
    "CMYK without a profile, JPEG": (pil(PHOTO.convert("CMYK"), "JPEG", quality=97), RGB),
    "corrupt profile": (pil(PHOTO, "PNG", icc_profile=b"corrupt"), RGB),
    "profile of another colour space": (pil(PHOTO, "PNG", icc_profile=OF_GREY), RGB),
    "gAMA of 1 / 1.8": (png(RGB_18, b"gAMA", struct.pack(">I", 55_556)), RGB),
    "gAMA that says nothing": (png(RGB, b"gAMA", struct.pack(">I", 1)), RGB),
    "gAMA of sRGB": (png(RGB, b"gAMA", struct.pack(">I", 45_455)), RGB),
    "gAMA and cHRM of Adobe RGB": (gama_too(png(within("Adobe", 2.2), *ADOBE), 2.2), RGB),
    "gAMA and cHRM of sRGB": (gama_too(png(RGB, *OF_SRGB), 2.2), RGB),
    "gAMA behind sRGB": (gama_too(png(RGB, b"sRGB", b"\0"), 1.8), RGB),
    "cHRM without gAMA": (png(RGB, *ADOBE), RGB),
    "cHRM that says nothing": (gama_too(png(RGB, *chromaticities(*[0.0] * 8)), 1.8), RGB),
    "cICP of Display P3": (png(within("P3"), b"cICP", IN_P3), RGB),
    "cICP of Display P3, alpha": (png(np.dstack([within("P3", image=CUT), MASK]), b"cICP", IN_P3), ON_WHITE),
    "cICP of BT.2020": (png(within("2020", 2.4), b"cICP", bytes([9, 14, 0, 1])), RGB),
    "cICP of gamma 2.2": (png(encoded(RGB, 2.2), b"cICP", bytes([1, 4, 0, 1])), RGB),
    "cICP of gamma 2.8": (png(encoded(RGB, 2.8), b"cICP", bytes([1, 5, 0, 1])), RGB),
    "cICP of grey": (png(encoded(GREY, 2.2), b"cICP", bytes([12, 4, 0, 1])), GREY3),
    "cICP before a profile": (png(within("P3"), b"cICP", IN_P3, icc_profile=EXCHANGED), RGB),
    "a profile before cICP that says nothing": (png(SWAPPED, b"cICP", bytes([2, 2, 0, 1]), icc_profile=EXCHANGED), RGB),
    "a profile before gAMA and cHRM": (gama_too(png(SWAPPED, *ADOBE, icc_profile=EXCHANGED), 1.8), RGB),
    "cICP of video's range": (png(RGB, b"cICP", bytes([12, 13, 0, 0])), RGB),
    "cICP with a wrong checksum": (png(RGB, b"cICP", IN_P3, flaw=1), RGB),
    "codes of Display P3, AVIF": (coded("AVIF", 12, 13, within("P3")), RGB),
    "codes of BT.2020, AVIF": (coded("AVIF", 9, 1, within("2020")), RGB),
    "codes of BT.709, AVIF": (coded("AVIF", 1, 1, RGB), RGB),
    "codes that say nothing, AVIF": (coded("AVIF", 2, 2, RGB), RGB),
    "profile in BMP": (bmp(SWAPPED, EXCHANGED), RGB),
    "corrupt profile in BMP": (bmp(RGB, b"corrupt"), RGB),
    "16 bits": (cv2.imencode(".png", WIDE[..., ::-1])[1].tobytes(), RGB),
    "16 bits, grey": (cv2.imencode(".png", GREY.astype(np.uint16) * 257)[1].tobytes(), GREY3),
    "16 bits, TIFF": (tiff(WIDE, photometric="rgb"), RGB),
    "16 bits, 0 is white": (tiff(65535 - GREY.astype(np.uint16) * 257, photometric="miniswhite"), GREY3),
    "8 bits, 0 is white": (tiff(255 - GREY, photometric="miniswhite"), GREY3),
    "EXIF orientation": (pil(BACK.copy(), "PNG", exif=ORIENTED), RGB),
    "EXIF orientation, JPEG": (pil(BACK.copy(), "JPEG", quality=97, subsampling=0, exif=ORIENTED), RGB),
    "EXIF orientation, WebP": (pil(BACK.copy(), "WEBP", lossless=True, exif=ORIENTED), RGB),
    "EXIF orientation, TIFF": (pil(BACK.copy(), "TIFF", exif=ORIENTED), RGB),
    "EXIF orientation, AVIF": (pil(BACK.copy(), "AVIF", quality=99, subsampling="4:4:4", exif=ORIENTED), RGB),
    "wrong checksum of a PNG's text": (png(RGB, b"tEXt", b"Comment\0x", flaw=1), RGB),
    "a PNG's text of 10 MB": (png(RGB, b"zTXt", b"Comment\0\0" + zlib.compress(bytes(10**7))), RGB),
    **{f"empty {n.decode()}": (png(RGB, n, b""), RGB) for n in (b"iCCP", b"gAMA", b"cHRM", b"pHYs", b"tRNS")},
    **{
        f"empty {n.decode()} at the end": (whole[:-12] + chunk(n, b"") + whole[-12:], RGB)
        for whole in [pil(PHOTO, "PNG")]
        for n in (b"iCCP", b"gAMA", b"pHYs")
    },
    "empty gAMA beside a profile": (png(SWAPPED, b"gAMA", b"", icc_profile=EXCHANGED), RGB),
    "a segment of JFIF without content": (jpeg(0xE0, b"JFIF\0"), RGB),
    "a segment of Adobe without content": (jpeg(0xEE, b"Adobe\0"), RGB),
    "a part of a profile in JPEG": (jpeg(0xE2, b"ICC_PROFILE\0\1\2" + bytes(99)), RGB),
    "corrupt EXIF": (pil(PHOTO, "PNG", exif=b"Exif\0\0MM\0\x0a\0\0\0\x08"), RGB),
}


def cut(name: str, kind: str, **options: object) -> dict[str, bytes]:
    whole = pil(PHOTO, kind, **options)
    n = len(whole)
    faults = {"half": whole[: n // 2], "without a middle": whole[: n // 3] + whole[2 * n // 3 :]}
    return {f"{name}, {fault}": content for fault, content in faults.items()}


JPEG = pil(PHOTO.resize((1280, 848)), "JPEG", quality=90)
N = len(JPEG)
REFUSED: dict[str, tuple[bytes, str]] = (
    {  # and what is said
        name: (content, "^corrupt|^not an image")
        for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "AVIF", "TIFF")
        for name, content in cut(kind, kind, **({"compression": "tiff_lzw"} if kind == "TIFF" else {})).items()
    }
    | {
        "JPEG, zeros": (JPEG[: N // 2] + bytes(2000) + JPEG[N // 2 + 2000 :], "corrupt"),
        "JPEG, 100 bytes lost": (JPEG[: N // 2] + JPEG[N // 2 + 100 :], "corrupt"),
        "JPEG, ended early": (JPEG[: N // 2] + b"\xff\xd9", "corrupt"),
        "PNG, one bit": (
            (p := pil(PHOTO, "PNG"))[: len(p) // 2] + bytes([p[len(p) // 2] ^ 1]) + p[len(p) // 2 + 1 :],
            "corrupt",
        ),
        "PNG, zeros at its end": (p[:9999] + bytes(len(p) - 9999), "the checksum of b'IDAT' is wrong"),
        "PNG, a wrong checksum": (p[:-20] + bytes([p[-20] ^ 1]) + p[-19:], "corrupt"),
        **{
            f"{kind}, zeros at its end": (w[:9999] + bytes(len(w) - 9999), "its end holds zeros alone")
            for kind in ("WEBP", "AVIF")
            for w in [pil(PHOTO, kind, quality=99)]
        },
        "AVIF without its image": (
            pil(PHOTO, "AVIF").replace(b"pitm\0\0\0\0\0\1", b"pitm\0\0\0\0\0\7"),
            "^corrupt: Failed to decode image",
        ),
        "PostScript": (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(ran) = flush showpage\n",
            "not an image in",
        ),
        "HDR, PNG": (png(RGB, b"cICP", bytes([9, 16, 0, 1])), r"^HDR \(PQ or HLG\)"),
        "HDR, AVIF": (coded("AVIF", 9, 18, RGB), r"^HDR \(PQ or HLG\)"),
        "text": (b"no image", "not an image in"),
        "empty": (b"", "not an image in"),
        "icon": (pil(PHOTO.resize((32, 32)), "ICO"), "not an image in"),
        "camera's raw file": (
            tiff(RGB, photometric="rgb", extratags=[(50706, 1, 4, b"\1\4\0\0", True)]),
            "a camera's raw file",
        ),
        "Canon's raw file": (
            pil(PHOTO, "TIFF", tiffinfo={259: 6}).replace(b"\x03\x01\x03\0\1\0\0\0\1", b"\x03\x01\x03\0\1\0\0\0\6"),
            "a camera's raw file",
        ),
        **{
            f"TIFF, {kind}": (tiff(GREY.astype(kind), photometric="minisblack"), "not unsigned 8 or 16 bits")
            for kind in ("float32", "int32", "uint32", "int16", "int8")
        },
        "TIFF, float64": (tiff(GREY.astype(float)), "a TIFF that is cut, or of a kind that is not read"),
        "16 bits, a transparent colour": (
            grey_png(16, [row.astype(">u2").tobytes() for row in GREY], b"tRNS", b"\0\0"),
            "a transparent colour of 16 bits",
        ),
        "16 bits, planes": (
            tiff(WIDE.transpose(2, 0, 1), photometric="rgb", planarconfig="separate"),
            "separate planes",
        ),
    }
)


def write(folder: Path, content: bytes) -> Path:
    (folder / "a.jpg").write_bytes(content)  # the name says nothing
    return folder / "a.jpg"


def away(content: bytes, expected: np.ndarray) -> float:
    shown = np.asarray(load(content, displayed=True), float)
    assert shown.shape == expected.shape
    return float(np.abs(shown - expected).mean())


@pytest.mark.parametrize("name", SHOWN)
def test_pixels_are_what_a_viewer_shows(name: str):
    assert away(*SHOWN[name]) < 2.5


@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_named(tmp_path: Path, name: str):
    content, said = REFUSED[name]
    (reason,) = read_images([write(tmp_path, content)], 32, "squash")[1].values()
    assert re.search(said, reason)
    assert "\n" not in reason


@pytest.mark.parametrize("kind", ["TIFF", "JPEG"])
def test_inks_are_mixed_by_the_profile(kind: str):
    """Solid inks and paper against the profile's own Lab values, converted by scikit-image."""
    inks = {
        (0, 0, 0, 0): (100, 0, 0),
        (255, 0, 0, 0): (60, -20, -25),
        (0, 255, 0, 0): (55, 40, -5),
        (0, 0, 0, 255): (0, 0, 0),
    }
    for cmyk, lab in inks.items():
        content = pil(Image.new("CMYK", (16, 16), cmyk), kind, icc_profile=press())
        right = 255 * color.lab2rgb(np.array(lab, float), illuminant="D65")
        assert np.asarray(load(content, displayed=True))[8, 8] == pytest.approx(right, abs=25), cmyk


def test_heic():
    pytest.importorskip("pillow_heif")
    small = RGB[::2, ::2]
    assert away(pil(small, "HEIF", quality=99, chroma=444), small) < 2.5
    assert away(coded("HEIF", 12, 13, within("P3")[::2, ::2]), small) < 2.5


@pytest.mark.parametrize("brands", [b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic"])
def test_heic_without_its_library_says_what_to_install(tmp_path: Path, brands: bytes, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decode, "FORMATS", tuple(name for name in decode.FORMATS if name != "HEIF"))
    path = write(tmp_path, b"\0\0\0\x18ftyp" + brands + bytes(16))
    (reason,) = read_images([path], 8, "squash")[1].values()
    assert reason == "not an image in a supported format; for HEIC: pip install pillow-heif"


def test_images_that_are_too_large_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decode, "MAX_PIXELS", 100)
    (reason,) = read_images([write(tmp_path, SHOWN["PNG"][0])], 8, "squash")[1].values()
    assert reason == "too large: 600 x 400 pixels; reduce it, or set GRMP_MAX_PIXELS above 100"


@pytest.mark.parametrize("model", ["photo", pytest.param("small-rated", marks=pytest.mark.slow)])
def test_images_that_look_the_same_score_the_same(model: str):
    """To within 0.002; 0.006 for what is stored with loss, or in too few levels of grey."""
    loaded, lossy = scorer.load(model, "cpu"), re.compile("JPEG|AVIF|MPO|grey")
    right: dict[int, float] = {}  # of the arrays, most of which are expected of several files
    for name, (content, expected) in SHOWN.items():
        shown = np.asarray(load(content, displayed=True))
        if (off := np.abs(shown.astype(float) - expected)).max() > 0.5:  # equal pixels have equal scores
            if id(expected) not in right:
                right[id(expected)] = loaded.score([np.round(expected).astype(np.uint8)])[0]
            difference = abs(loaded.score([shown])[0] - right[id(expected)])
            assert difference <= (0.006 if lossy.search(name) else 0.002), (name, off.mean())


@pytest.mark.slow
@pytest.mark.skipif(PROGRAM is None, reason="no Chromium on the path")
def test_chromium_shows_the_same(tmp_path: Path):
    """But for TIFF, which it cannot show, animations, and where other viewers and the formats' texts say otherwise."""
    otherwise = "frame|gAMA and cHRM of sRGB|gAMA that says nothing|BMP that is 0 everywhere|EXIF orientation, WebP"
    otherwise += "|corrupt profile in BMP"  # Chromium 150 does not show it
    names = [name for name, (content, _) in SHOWN.items() if not content.startswith((b"II", b"MM"))]
    names = [name for name in names if not re.search(otherwise, name)]
    wide, tall = max(PHOTO.size), 8
    for i, name in enumerate(names):
        (tmp_path / str(i)).write_bytes(SHOWN[name][0])
    places = {name: (i % tall * wide, i // tall * wide) for i, name in enumerate(names)}
    images = (
        f'<img src="{i}" style="position:absolute;left:{x}px;top:{y}px">' for i, (x, y) in enumerate(places.values())
    )
    (tmp_path / "page.html").write_text(f'<body style="margin:0">{"".join(images)}')
    size = f"--window-size={wide * tall},{wide * math.ceil(len(names) / tall)}"
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--force-color-profile=srgb", size)
    where = (
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--screenshot={tmp_path / 'page.png'}",
        f"file://{tmp_path}/page.html",
    )
    subprocess.run([PROGRAM, *options, *where], check=True, capture_output=True, timeout=60)
    page = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"), float)
    away = {}
    for name, (x, y) in places.items():
        ours = np.asarray(load(SHOWN[name][0], displayed=True), float)
        away[name] = float(np.abs(page[y : y + ours.shape[0], x : x + ours.shape[1]] - ours).mean())
    assert {name: off for name, off in away.items() if off > 1} == {}
