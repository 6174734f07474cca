"""Copies and images that look alike are one group; different photographs and plain areas are not."""

import io

import numpy as np
import pytest
from PIL import Image, ImageFilter, ImageOps
from skimage import data

from grmp.data.duplicates import groups

PHOTOGRAPHS = [
    Image.fromarray(getattr(data, n)()).convert("RGB").resize((96, 96)) for n in ("astronaut", "cat", "coffee")
]


def jpeg(image: Image.Image) -> Image.Image:
    out = io.BytesIO()
    image.save(out, "JPEG", quality=30)
    return Image.open(out)


ALIKE = {
    "copy": lambda image: image,
    "jpeg": jpeg,
    "blur": lambda image: image.filter(ImageFilter.GaussianBlur(2)),
    "size": lambda image: image.resize((40, 40)).resize((96, 96)),
    "mirror": ImageOps.mirror,
    "turn": lambda image: image.rotate(90),
    "border": lambda image: ImageOps.expand(image, 9, "white").resize((96, 96)),
    "letterbox": lambda image: ImageOps.pad(image, (96, 128), color="black").resize((96, 96)),
    "crop": lambda image: image.crop((1, 1, 95, 95)).resize((96, 96)),
}


def stack(images: list[Image.Image]) -> np.ndarray:
    return np.stack([np.asarray(image.convert("RGB")).transpose(2, 0, 1) for image in images])


@pytest.mark.parametrize("change", ALIKE)
def test_images_that_look_alike_are_one_group(change: str):
    found = groups(stack([*PHOTOGRAPHS, *map(ALIKE[change], PHOTOGRAPHS)]))
    assert len(set(found)) == 3
    assert (found[:3] == found[3:]).all()


def test_plain_images_are_alike_only_if_equal():
    found = groups(stack([Image.new("RGB", (32, 32), (v,) * 3) for v in (0, 40, 80, 40)]))
    assert len(set(found)) == 3
    assert found[1] == found[3]


def test_sources_are_joined_through_what_looks_alike():
    images = stack([*PHOTOGRAPHS, jpeg(PHOTOGRAPHS[0])])
    found = groups(images, np.array([0, 0, 1, 2]))
    assert len(set(found)) == 2
    assert found[0] == found[1] == found[3] != found[2]
