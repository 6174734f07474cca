"""One name for a picture whatever copy it comes from; source, distortion and level where the publisher put them there."""

from collections.abc import Callable
from pathlib import PurePosixPath

CSIQ_TYPES = {
    "noise": "AWGN",
    "blur": "BLUR",
    "contrast": "contrast",
    "fnoise": "fnoise",
    "jpeg": "JPEG",
    "jpeg 2000": "jpeg2000",
}
TID2013_TYPES = """additive noise,color noise,correlated noise,masked noise,high frequency noise,impulse noise,
quantization noise,gaussian blur,denoising,jpeg,jpeg2000,jpeg transmission errors,jpeg2000 transmission errors,pattern noise,
block distortions,mean shift,contrast,saturation,multiplicative noise,comfort noise,lossy compression of noise,
color quantization,chromatic aberrations,sparse sampling"""
KADID_TYPES = """gaussian blur,lens blur,motion blur,color diffusion,color shift,color quantization,color saturation hsv,
color saturation lab,jpeg2000,jpeg,white noise,white noise ycbcr,impulse noise,multiplicative noise,denoise,brighten,darken,
mean shift,jitter,non-eccentricity patch,pixelate,quantization,color block,high sharpen,contrast change"""


def _name_live(name: str) -> tuple[str, str, str, str]:
    return "/".join(PurePosixPath(name).parts[-2:]), "", PurePosixPath(name).parts[-2], ""


def _name_csiq(name: str) -> tuple[str, str, str, str]:
    reference, kind, level, _ = PurePosixPath(name).name.rsplit(".", 3)
    kind = {k.lower().replace(" ", ""): k for k in CSIQ_TYPES.values()}[kind.lower().replace("_", "").replace(" ", "")]
    return f"{reference}.{kind}.{level}.png", reference, kind.lower(), level


def _numbered(kind: str, names: str) -> str:
    """``01 additive noise``: with its number, so that types sort in the publisher's order."""
    return f"{kind} {names.split(',')[int(kind) - 1].strip()}"


def kinds(database: str) -> list[str]:
    """The distortion types that a whole database has, as ``parse`` names them; empty where that is not known."""
    names = {"tid2013": TID2013_TYPES, "kadid10k": KADID_TYPES}.get(database, "")
    return [_numbered(f"{i:02}", names) for i in range(1, 1 + len(names.split(",")))] if names else []


def _name_tid2013(name: str) -> tuple[str, str, str, str]:
    image = PurePosixPath(name).name.lower()  # i01_.. and I04_.., .bmp and .BMP stand side by side
    reference, kind, level = image.removesuffix(".bmp").split("_")
    return image, reference, _numbered(kind, TID2013_TYPES), level


def _name_kadid10k(name: str) -> tuple[str, str, str, str]:
    image = PurePosixPath(name).name
    reference, kind, level = image.removesuffix(".png").split("_")
    return image, reference, _numbered(kind, KADID_TYPES), str(int(level))


def _name_pipal(name: str) -> tuple[str, str, str, str]:
    image = PurePosixPath(name).name
    reference, kind, _ = image.removesuffix(".bmp").split("_")
    return image, reference, f"type {kind}", ""


def _name_flive(name: str) -> tuple[str, str, str, str]:
    return "/".join(PurePosixPath(name).parts[-2:]), "", "", ""


def _name_file(name: str) -> tuple[str, str, str, str]:
    return PurePosixPath(name).name, "", "", ""


PARSERS: dict[str, Callable[[str], tuple[str, str, str, str]]] = {
    "live": _name_live,
    "csiq": _name_csiq,
    "tid2013": _name_tid2013,
    "kadid10k": _name_kadid10k,
    "pipal": _name_pipal,
    "flive": _name_flive,
}


def parse(database: str, name: str) -> tuple[str, str, str, str]:
    """(image, reference, distortion, level) of a picture's name or path; empty where the name does not tell.

    Raises
    ------
    ValueError, KeyError, IndexError
        If it is no name of this database.
    """
    return PARSERS.get(database, _name_file)(name.strip().replace("\\", "/"))
