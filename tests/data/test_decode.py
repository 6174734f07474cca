"""The decoder: images that look the same give the same pixels; what cannot be decoded is named."""

import io
import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms
from skimage import transform

from grmp.data import decode
from grmp.data.decode import load, read_image, try_image
from tests.data import layouts

RNG = np.random.default_rng(0)
SMOOTH = Image.fromarray(RNG.integers(0, 256, (12, 16, 3), np.uint8)).resize((160, 120), Image.Resampling.BICUBIC)


def save(folder: Path, image: Image.Image, name: str, **options: object) -> Path:
    image.save(folder / name, **options)
    return folder / name


def away(path: Path, expected: Image.Image) -> float:
    """Mean difference of the displayed pixels."""
    return float(np.abs(np.asarray(load(path, True), float) - np.asarray(expected.convert("RGB"), float)).mean())


def swapped() -> bytes:
    """The profile of sRGB with the primaries red and blue exchanged, which has an unmistakable effect."""
    data = bytearray(ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes())
    at = {bytes(data[i : i + 4]): i for i in range(132, 132 + 12 * struct.unpack(">I", data[128:132])[0], 12)}
    for name, other in ((b"rXYZ", b"bXYZ"), (b"bXYZ", b"rXYZ")):
        data[at[name] : at[name] + 4] = other
    return bytes(data).replace("sRGB".encode("utf-16-be"), "swap".encode("utf-16-be"))


def test_squash_and_keep(tmp_path):
    """40 x 20, the right quarter white: squashed it keeps its place, kept is the centre."""
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 30:] = 255
    path = save(tmp_path, Image.fromarray(wide), "a.png")
    squashed, kept = (read_image(path, 20, aspect) for aspect in ("squash", "keep"))
    assert squashed.shape == kept.shape == (3, 20, 20)
    assert squashed[0, 5, [0, 13, 17, 19]].tolist() == [0, 0, 255, 255]
    assert kept.max() == 0, "the centre square of 20 ends where white begins"


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "1"])
@pytest.mark.parametrize("displayed", [False, True])
def test_every_colour_mode_becomes_rgb(tmp_path, mode, displayed):
    path = save(tmp_path, Image.new(mode, (12, 10)), "a.tif" if mode == "CMYK" else "a.png")
    assert read_image(path, 8, "squash", displayed).shape == (3, 8, 8)


@pytest.mark.parametrize("mode", ["RGBA", "LA", "P"])
@pytest.mark.parametrize("ending", ["png", "webp", "tif"])
def test_transparency_is_white(tmp_path, mode, ending):
    if (mode, ending) in (("LA", "webp"), ("P", "webp"), ("P", "tif")):
        pytest.skip("not a combination that exists")
    mask = Image.new("L", SMOOTH.size)
    mask.paste(255, (40, 30, 120, 90))
    cut = Image.new("RGB", SMOOTH.size)
    cut.paste(SMOOTH, mask=mask)
    white = Image.new("RGB", SMOOTH.size, "white")
    white.paste(SMOOTH, mask=mask)
    if mode == "P":
        cut = SMOOTH.quantize(255, dither=Image.Dither.NONE)
        pixels = np.asarray(cut).copy()
        pixels[np.asarray(mask) == 0] = 255
        white = Image.composite(cut.convert("RGB"), Image.new("RGB", cut.size, "white"), mask)
        palette = cut.getpalette()
        cut = Image.fromarray(pixels, "P")
        cut.putpalette(palette + [0] * (768 - len(palette)))
        path = save(tmp_path, cut, f"a.{ending}", transparency=255)
    else:
        if mode == "LA":
            cut, white = cut.convert("L"), Image.composite(SMOOTH.convert("L"), Image.new("L", SMOOTH.size, 255), mask)
        cut.putalpha(mask)
        path = save(tmp_path, cut, f"a.{ending}", **({"lossless": True, "exact": True} if ending == "webp" else {}))
    assert away(path, white) == 0


def test_profiles_are_converted_to_srgb(tmp_path):
    red, green, blue = SMOOTH.split()
    path = save(tmp_path, SMOOTH, "a.png", icc_profile=swapped())
    assert away(path, Image.merge("RGB", (blue, green, red))) < 2.5
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    for name, wrong in (("s.png", srgb), ("c.png", b"corrupt")):
        assert away(save(tmp_path, SMOOTH, name, icc_profile=wrong), SMOOTH) == 0
    grey = save(tmp_path, SMOOTH.convert("L"), "g.png", icc_profile=swapped())
    assert away(grey, SMOOTH.convert("L")) == 0, "a profile of another colour space says nothing"
    assert np.array_equal(np.asarray(load(path, False)), np.asarray(SMOOTH)), "databases are read as stored"


def test_sixteen_bits_are_scaled(tmp_path):
    values = np.arange(65536, dtype=np.uint16).reshape(256, 256)
    path = save(tmp_path, Image.fromarray(values), "a.png")
    assert np.array_equal(np.asarray(load(path, True))[..., 0], np.round(values / 257).astype(np.uint8))
    assert "8 bits per channel" in try_image(path, 8, "squash")


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "webp"])
def test_orientation_is_applied(tmp_path, ending):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path, SMOOTH, f"a.{ending}", exif=exif, **({"lossless": True} if ending == "webp" else {}))
    turned = SMOOTH.transpose(Image.Transpose.ROTATE_270)
    assert load(path, True).size == turned.size
    assert away(path, turned) < (5 if ending == "jpg" else 0.01)
    assert load(path, False).size == turned.size


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
@pytest.mark.parametrize("ending", ["png", "jpg"])
def test_corrupt_metadata_are_ignored(tmp_path, ending):
    path = save(tmp_path, SMOOTH, f"a.{ending}", exif=b"Exif\0\0MM\0\x0a\0\0\0\x08")
    assert away(path, SMOOTH) < 5


@pytest.mark.parametrize("fault", ["middle", "zeros", "lost", "ended", "half"])
def test_corrupt_jpegs_are_named(tmp_path, fault):
    out = io.BytesIO()
    SMOOTH.resize((1600, 1200)).save(out, "JPEG", quality=90)
    data = out.getvalue()
    n = len(data)
    broken = {
        "middle": data[: n // 3] + data[2 * n // 3 :],
        "zeros": data[: n // 2] + bytes(2000) + data[n // 2 + 2000 :],
        "lost": data[: n // 2] + data[n // 2 + 100 :],
        "ended": data[: n // 2] + b"\xff\xd9",
        "half": data[: n // 2],
    }[fault]
    (tmp_path / "a.jpg").write_bytes(broken)
    assert try_image(tmp_path / "a.jpg", 8, "squash", displayed=True).startswith("corrupt: ")
    (tmp_path / "a.jpg").write_bytes(data + b"bytes after the end")
    assert not isinstance(try_image(tmp_path / "a.jpg", 8, "squash", displayed=True), str)


@pytest.mark.parametrize("ending", ["png", "webp", "tif", "gif", "bmp"])
def test_other_files_cut_in_half_are_named(tmp_path, ending):
    path = save(tmp_path, SMOOTH, f"a.{ending}")
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert isinstance(try_image(path, 8, "squash", displayed=True), str)


def test_formats_are_detected_by_content_and_restricted(tmp_path, monkeypatch):
    (tmp_path / "a.jpg").write_bytes(layouts.picture(".png", 0))
    assert not isinstance(try_image(tmp_path / "a.jpg", 8, "squash"), str)
    (tmp_path / "e.jpg").write_bytes(
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n(ran) = flush showpage\n"
    )
    assert "supported format" in try_image(tmp_path / "e.jpg", 8, "squash", displayed=True)
    (tmp_path / "n.jpg").write_bytes(b"no image")
    assert "supported format" in try_image(tmp_path / "n.jpg", 8, "squash")
    assert try_image(tmp_path / "none.jpg", 8, "squash") == "missing"
    monkeypatch.setattr(decode, "MAX_PIXELS", 100)
    assert try_image(save(tmp_path, SMOOTH, "b.png"), 8, "squash").startswith("too large: 160 x 120 pixels")


@pytest.mark.parametrize("name", ["a.mpo", "a.gif"])
def test_first_frame(tmp_path, name):
    path = save(tmp_path, SMOOTH, name, save_all=True, append_images=[SMOOTH.rotate(180)])
    assert away(path, SMOOTH) < 15


def prepared(path: Path, view: str, size: int = 244, aspect: str = "squash") -> np.ndarray:
    return decode.resized(path, load(path, displayed=False), view, size, aspect)


def released(path: Path, view: str) -> np.ndarray:
    """As data_preparation_livec_mat.py and pretrain.py write it."""
    if view == "opencv":
        image = cv2.cvtColor(cv2.imread(str(path), 1), cv2.COLOR_BGR2RGB)
        return cv2.resize(image, (244, 244), interpolation=cv2.INTER_CUBIC).transpose(2, 0, 1)
    side = {"support": 256, "query": 224}[view]
    image = np.asarray(Image.open(path).convert("RGB"))
    return 255 * transform.resize(image, (side, side)).transpose(2, 0, 1)


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.bmp"])
@pytest.mark.parametrize("view", decode.VIEWS[1:])
def test_resized_as_released(tmp_path, name, view):
    path = save(tmp_path, Image.fromarray(RNG.integers(0, 256, (300, 400, 3), np.uint8)), name)
    found, wanted = prepared(path, view), released(path, view)
    assert found.shape == wanted.shape
    assert np.abs(found - wanted).max() <= (0 if view == "opencv" else 0.5 + 1e-9)


def test_real_photographs_resized_as_released(shared):
    paths = sorted((shared / "real/clive/ChallengeDB_release/Images").glob("*.JPG"))[::40]
    assert len(paths) > 10
    for path in paths:
        assert (prepared(path, "opencv") == released(path, "opencv")).all(), path.name


def test_antialiasing_removes_noise_and_opencv_does_not(tmp_path):
    """White noise of sd 15 on a smooth scene of 1024 x 768."""
    scene = np.asarray(SMOOTH.resize((1024, 768), Image.Resampling.BICUBIC), float) / 4 + 96
    noise = np.random.default_rng(1).normal(0, 15, scene.shape)
    clean, noisy = (
        save(tmp_path, Image.fromarray(a.round().astype(np.uint8)), n)
        for a, n in ((scene, "a.png"), (scene + noise, "b.png"))
    )
    left = {view: float((prepared(noisy, view).astype(float) - prepared(clean, view)).std()) for view in decode.VIEWS}
    assert left["pillow"] == pytest.approx(3.4, abs=0.1)
    assert left["opencv"] == pytest.approx(12.8, abs=0.1)


@pytest.mark.parametrize("view", decode.VIEWS)
def test_every_view_is_upright_and_keeps_the_aspect(tmp_path, view):
    """The right quarter of 40 x 20 is white; stored lying on its side."""
    wide = np.zeros((20, 40, 3), np.uint8)
    wide[:, 30:] = 255
    exif = Image.Exif()
    exif[0x0112] = 8
    path = save(tmp_path, Image.fromarray(wide).rotate(-90, expand=True), "a.png", exif=exif)
    squashed, kept = (prepared(path, view, 20, aspect) for aspect in ("squash", "keep"))
    assert (squashed[:, :, -3:] > 250).all()
    assert (squashed[:, :, :13] == 0).all()
    assert kept.shape == squashed.shape == (3, *[decode.side(view, 20)] * 2)
    assert kept.max() == 0
