"""Image files -> arrays: the one decoder of every command.

Databases are read as *stored* pixels, turned upright, and resized in one of the ways of ``resized``. A user's own images are
read as they are *displayed*: colour profile, transparency and 16 bits have their meaning, and corrupt data are an error.
"""

import contextlib
import io
import os
import struct
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import simplejpeg
from PIL import ExifTags, Image, ImageChops, ImageOps, UnidentifiedImageError, features
from tqdm import tqdm

from grmp.data.colour import Unsupported, profile, to_srgb
from grmp.data.metadata import gap, without_corrupt, without_optional
from grmp.device import cpus
from grmp.errors import UserError

# by content; none that starts another program; JPEG includes MPO
FORMATS: tuple[str, ...] = ("JPEG", "PNG", "WEBP", "TIFF", "BMP", "GIF", "AVIF")
ENDINGS: tuple[str, ...] = (".bmp", ".jpg", ".jpeg", ".jfif", ".png", ".webp", ".tif", ".tiff", ".gif", ".avif")
MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr", "HSV", "LAB")  # of 8 bits per channel
HEIC = "for HEIC: pip install pillow-heif"
LARGE = 4  # times the prepared size
NEW_SUBFILE_TYPE, BITS, COMPRESSION, PHOTOMETRIC, PLANES, SAMPLES = 254, 258, 259, 262, 284, 339  # TIFF tags
DNG_VERSION = 50706
NARROW = {"L;2": 85, "L;4": 17}  # a PNG's grey of 2 or 4 bits -> 8
LIMIT = os.environ.get("GRMP_MAX_PIXELS") or "178956970"
if not LIMIT.isdecimal():
    raise UserError(f"GRMP_MAX_PIXELS={LIMIT}: give a number of pixels, such as 500000000")
MAX_PIXELS = int(LIMIT)
Image.init()
with contextlib.suppress(ImportError):  # photographs of phones, where this library is installed
    import_module("pillow_heif").register_heif_opener()
    FORMATS, ENDINGS = (*FORMATS, "HEIF"), (*ENDINGS, ".heic", ".heif")
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")  # of metadata, which may be corrupt
Image.MAX_IMAGE_PIXELS = None  # ``load`` has its own limit, whose message does not speak of an attack


class TooLarge(Unsupported):
    """An image with too many pixels."""


def versions() -> dict[str, str]:
    """The installed libraries that decode; other versions may give other pixels."""
    inside = ("avif", "libjpeg_turbo", "libtiff", "littlecms2", "webp", "zlib")
    found = {"pillow": Image.__version__} | {name: str(features.version(name)) for name in inside}
    for name in ("opencv-python-headless", "pillow-heif", "scikit-image", "simplejpeg"):
        with contextlib.suppress(PackageNotFoundError):
            found[name] = version(name)
    return found


def load(path: Path | bytes, displayed: bool, most: int | None = None) -> Image.Image:
    """The image in ``path``, or in a file's bytes, as RGB, at its own size.

    Raises an error of ``FAULTS`` if it is not an image of ``FORMATS``, has more than ``most`` pixels [default: MAX_PIXELS], or
    its data are corrupt. Corrupt metadata are ignored.
    """
    if isinstance(path, Path) and path.exists() and not path.is_file():
        raise Unsupported("not a regular file")  # a pipe may never end
    data = path if isinstance(path, bytes) else path.read_bytes()
    try:
        return _load(data, displayed, most or MAX_PIXELS)
    except Unsupported:
        raise
    except Exception as error:  # corrupt metadata raise anything
        if (repaired := without_corrupt(data, FORMATS)) != data:
            return _load(repaired, displayed, most or MAX_PIXELS)
        if "HEIF" not in FORMATS and data[4:8] == b"ftyp" and b"hei" in data[8:32]:  # a brand: heic, heix, ...
            raise Unsupported(f"not an image in a supported format; {HEIC}") from error
        kind = next((kind for kind in FORMATS if (accept := Image.OPEN[kind][1]) and accept(data[:16])), "")
        if kind and isinstance(error, UnidentifiedImageError):
            raise ValueError(f"a {kind} that is cut, or of a kind that is not read; save it as PNG") from error
        raise


def _load(data: bytes, displayed: bool, most: int) -> Image.Image:
    with Image.open(io.BytesIO(data), formats=FORMATS) as opened:
        if opened.width * opened.height > most:
            area = f"{opened.width} x {opened.height} pixels"
            raise TooLarge(f"too large: {area}; reduce it, or set GRMP_MAX_PIXELS above {most}")
        if _raw(opened):
            raise Unsupported("a camera's raw file or a preview; convert it to JPEG, PNG or TIFF")
        if not displayed:
            if opened.mode not in MODES:
                raise Unsupported(f"pixels of mode {opened.mode}; save it with 8 bits per channel")
            return _upright(opened.convert("RGB"), opened)
        if reason := complaint(data):
            raise ValueError(reason)
        return _displayed(opened, data)


def is_image(path: Path) -> bool:
    """Whether a file found in a folder is an image to decode, by its ending or its content."""
    if path.suffix.lower() in ENDINGS:
        return True
    with contextlib.suppress(*FAULTS), Image.open(path, formats=FORMATS) as opened:
        return not _raw(opened)
    return False


def _raw(opened: Image.Image) -> bool:
    """Whether a TIFF file is a camera's raw file, whose first image is a preview (of Canon's, a JPEG of the old kind, 6)."""
    tags = getattr(opened, "tag_v2", {})
    return DNG_VERSION in tags or bool(tags.get(NEW_SUBFILE_TYPE, 0) & 1) or tags.get(COMPRESSION) == 6


def concerns(path: Path, size: int, aspect: str, patch: int) -> list[str]:
    """What the preparation to ``size`` pixels hides from a network with patches of ``patch`` pixels; clauses about images."""
    with contextlib.suppress(*FAULTS), Image.open(path, formats=FORMATS) as opened:
        short, long = sorted(opened.size)
        found = {
            f"more than {LARGE} times as large as the {size} pixels that are scored: fine blur and noise vanish": (
                short > LARGE * size
            ),
            "panoramas, of which only the middle is scored (data.aspect: keep)": aspect == "keep" and long > 2 * short,
            f"smaller than a patch of {patch} pixels: their scores mean little": short < patch,
        }
        return [clause for clause, true in found.items() if true]
    return []


def remarks(paths: Sequence[Path], size: int, aspect: str, patch: int) -> list[str]:
    """``concerns`` of many images, one line each with the number of images."""
    paths = tqdm(paths, desc="sizes", unit="image", disable=None, delay=5)
    found = Counter(clause for path in paths for clause in concerns(path, size, aspect, patch))
    return [f"{count} of {len(paths)} images are {clause}" for clause, count in found.items()]


def complaint(data: bytes) -> str:
    """What is wrong with a file that Pillow decodes nevertheless: what libjpeg warns of, or a ``gap``; else empty."""
    if data[:2] != b"\xff\xd8":
        return gap(data)
    try:  # at an eighth of the size: all entropy-coded data are read, little else is computed
        simplejpeg.decode_jpeg(without_optional(data), colorspace="GRAY", min_height=1, min_width=1)
    except ValueError as error:
        return str(error)
    return ""


def _displayed(opened: Image.Image, data: bytes) -> Image.Image:
    """Pixels of a file as a viewer shows them on a white page."""
    tiles = getattr(opened, "tile", ())
    stored = str(tiles[0].args) if tiles and opened.format == "PNG" else ""  # such as "RGB;16B"
    opened.load()
    image, space, tags, alpha = opened, profile(opened, data), getattr(opened, "tag_v2", {}), None
    if not {*tags.get(BITS, ())} <= {1, 2, 4, 8, 16} or not {*tags.get(SAMPLES, ())} <= {1, 4}:
        raise Unsupported("a TIFF whose pixels are not unsigned 8 or 16 bits; save it with 8 or 16 bits per channel")
    if tags.get(PLANES) == 2 and max(tags.get(BITS, (8,))) > 8:
        raise Unsupported("a TIFF with separate planes of 16 bits, which Pillow misreads; save it interleaved")
    if "transparency" in image.info and stored.endswith(";16B"):
        raise Unsupported("a transparent colour of 16 bits per channel; save it with an alpha channel")
    if "transparency" in image.info and stored in NARROW:  # Pillow stretches pixels, but not this colour
        image.info["transparency"] *= NARROW[stored]
    if image.mode.startswith("I;16"):
        image = Image.fromarray(np.round(np.asarray(image) / 257).astype(np.uint8))
        image = ImageChops.invert(image) if tags.get(PHOTOMETRIC) == 0 else image  # 0 is white
    elif image.mode not in (*MODES, "La", "RGBa"):
        raise Unsupported(f"pixels of mode {image.mode}; save it with 8 or 16 bits per channel")
    elif image.has_transparency_data:
        image = image.convert("LA") if image.mode == "La" else image
        alpha = image.convert("RGBA").getchannel("A")
        alpha = alpha if opened.format != "BMP" or alpha.getbbox() else None  # programs leave it 0
        image = image.convert("L" if image.mode in ("L", "LA") or stored.startswith("LA") else "RGB")
    elif image.mode not in ("L", "RGB", "CMYK"):
        image = image.convert("RGB")
    box = getattr(opened, "dispose_extent", None) if opened.format == "GIF" else None
    if box and box != (0, 0, *opened.size):  # nothing is around the first frame
        frame, alpha = alpha.crop(box) if alpha else 255, Image.new("L", opened.size)
        alpha.paste(frame, box)
    image = to_srgb(image, space)
    if alpha is not None:
        page = Image.new("RGB", image.size, "white")
        page.paste(image, mask=alpha)
        image = page
    return _upright(image, opened)


def _upright(image: Image.Image, opened: Image.Image) -> Image.Image:
    """``image`` turned as the EXIF orientation of ``opened`` says."""
    with contextlib.suppress(Exception):  # corrupt metadata raise anything
        image.getexif()[ExifTags.Base.Orientation] = opened.getexif().get(ExifTags.Base.Orientation, 1)
        ImageOps.exif_transpose(image, in_place=True)
    return image


def fit(image: Image.Image, size: int, aspect: str) -> np.ndarray:
    """(3, size, size) uint8 by Pillow's bicubic filter.

    ``aspect`` is "squash" (as the released code) or "keep": shorter side to ``size``, then the centre.
    """
    way = ImageOps.fit if aspect == "keep" else Image.Image.resize
    return np.asarray(way(image, (size, size), Image.Resampling.BICUBIC)).transpose(2, 0, 1)


def crops(image: Image.Image, size: int, count: int) -> list[np.ndarray]:
    """``count`` crops (3, size, size) uint8 at the image's own resolution: one in the middle, the others spread evenly.

    Of a smaller image, crops are as large as its shorter side and are enlarged. Positions are the R2 sequence, the same for
    all images.
    """
    side, found = min(size, *image.size), []
    for i in range(count):
        left = (0.5 + i * 0.7548776662) % 1 * (image.width - side)
        top = (0.5 + i * 0.5698402910) % 1 * (image.height - side)
        box = (round(left), round(top), round(left) + side, round(top) + side)
        found.append(fit(image.crop(box), size, "squash"))
    return found


def open_any(source: str | Path | bytes | np.ndarray | Image.Image) -> Image.Image:
    """A file, a file's bytes, an array (H, W) or (H, W, 3) uint8, or Pillow's image, as displayed.

    Raises what ``load`` raises, and ValueError for an array of another kind.
    """
    if isinstance(source, np.ndarray):
        if source.dtype != np.uint8 or not (source.ndim == 2 or source.shape[2:] in ((3,), (4,))) or not source.size:
            raise Unsupported(f"an array must be (H, W) or (H, W, 3) uint8, this is {source.shape} {source.dtype}")
        source = Image.fromarray(source)
    if isinstance(source, Image.Image):
        return _displayed(source, b"")
    return load(source if isinstance(source, bytes) else Path(source), displayed=True)


VIEWS = ("pillow", "opencv", "support", "query")


def side(view: str, size: int) -> int:
    """Side of a prepared image; those of pre-training are larger or smaller, as 256 and 224 are to 244."""
    return round(size * {"support": 256, "query": 224}.get(view, 244) / 244)


def resized(path: Path, image: Image.Image, view: str, size: int, aspect: str) -> np.ndarray:
    """(3, S, S) uint8 of a database's image, which is ``load(path, displayed=False)``; S is ``side(view, size)``.

    ``view`` is "pillow" (bicubic, antialiased), "opencv" (decoded and resized as the released fine-tuning does: cubic, not
    antialiased), "support" or "query" (as its pre-training does: scikit-image, bilinear, antialiased).
    """
    size = side(view, size)
    if view == "pillow":
        return fit(image, size, aspect)
    import cv2
    from skimage import transform

    pixels: Any = np.asarray(image)
    if view == "opencv":
        pixels = cv2.imdecode(np.frombuffer(path.read_bytes(), np.uint8), cv2.IMREAD_COLOR_RGB)
        if pixels is None:
            raise ValueError("OpenCV cannot decode it")
    if aspect == "keep":
        square = min(pixels.shape[:2])
        top, left = (np.array(pixels.shape[:2]) - square) // 2
        pixels = pixels[top : top + square, left : left + square]
    if view == "opencv":
        return cv2.resize(pixels, (size, size), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)
    return (255 * transform.resize(pixels, (size, size))).round().astype(np.uint8).transpose(2, 0, 1)


def why(error: Exception) -> str:
    """One clause for a user about a file that cannot be decoded."""
    if isinstance(error, FileNotFoundError):
        return "missing"
    if isinstance(error, UnidentifiedImageError):
        return f"not an image in a supported format ({', '.join(FORMATS)})"
    reason = " ".join(str(getattr(error, "strerror", None) or error).split()) or type(error).__name__
    return reason if isinstance(error, Unsupported) or getattr(error, "errno", None) else f"corrupt: {reason}"


# what decoders raise for files that are not whole; the last two where a tag has another type than it should
FAULTS = (
    *(OSError, ValueError, SyntaxError, struct.error, EOFError, LookupError, ArithmeticError, RuntimeError),
    *(TypeError, AttributeError),
)


K = TypeVar("K")


def each(items: Sequence[K], decode: Callable[[K], Any], task: str = "") -> tuple[dict[K, Any], dict[K, str]]:
    """What ``decode`` makes of each item, and why it makes nothing of the others; ``task`` names a progress bar."""

    def decoded(item: K) -> Any:
        try:
            return decode(item)
        except FAULTS as error:
            return why(error)

    with ThreadPoolExecutor(cpus()) as pool:
        bar = tqdm(pool.map(decoded, items), task, len(items), unit="image", delay=5, disable=not task or None)
        found = dict(zip(items, bar, strict=True))
    unread = {item: reason for item, reason in found.items() if isinstance(reason, str)}
    return {item: image for item, image in found.items() if item not in unread}, unread


def read_images(
    paths: Sequence[Path], size: int, aspect: str, task: str = ""
) -> tuple[dict[Path, np.ndarray], dict[Path, str]]:
    """``each`` file as displayed, as (3, size, size) uint8."""
    return each(paths, lambda path: fit(load(path, displayed=True), size, aspect), task)


def median_side(paths: list[Path]) -> int:
    """Median shorter side in pixels of some of the files, read from their headers."""
    sides = []
    for path in paths[:: max(1, len(paths) // 50)]:
        with contextlib.suppress(*FAULTS), Image.open(path, formats=FORMATS) as opened:
            sides.append(min(opened.size))
    return int(np.median(sides)) if sides else 0
