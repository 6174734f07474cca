import numpy as np
import pytest
from skimage import data
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from grmp.data.simulated.distortions import KINDS, LEVELS, distort

RANDOM = {
    "motion_blur",
    "color_shift",
    "white_noise",
    "white_noise_in_color_component",
    "impulse_noise",
    "multiplicative_noise",
    "denoise",
    "mean_shift",
    "jitter",
    "non_eccentricity_patch",
    "color_block",
}


@pytest.fixture(scope="module")
def photographs() -> list[np.ndarray]:
    corners = (
        (data.astronaut(), 40, 150),
        (data.chelsea(), 60, 120),
        (data.coffee(), 80, 200),
        (data.rocket(), 200, 280),
    )
    return [picture[i : i + 122, j : j + 122] for picture, i, j in corners]


def similarity(a: np.ndarray, b: np.ndarray) -> float:
    return structural_similarity(a, b, channel_axis=-1, data_range=255)


def test_the_25_types_in_kadids_order() -> None:
    assert len(KINDS) == 25
    assert (KINDS[0], KINDS[8], KINDS[9], KINDS[10], KINDS[24]) == (
        "gaussian_blur",
        "jpeg2000",
        "jpeg",
        "white_noise",
        "contrast_change",
    )


@pytest.mark.parametrize("kind", KINDS)
def test_every_level_is_worse_than_the_one_before(kind: str, photographs: list[np.ndarray]) -> None:
    """By two full-reference measures, and visibly so from the first level to the last."""
    distorted = [[distort(p, kind, level, seed) for seed, p in enumerate(photographs)] for level in LEVELS]
    ssim = [np.mean([similarity(p, d) for p, d in zip(photographs, row, strict=True)]) for row in distorted]
    psnr = [
        np.mean([peak_signal_noise_ratio(p, d) for p, d in zip(photographs, row, strict=True)]) for row in distorted
    ]
    assert (np.diff([1.0, *ssim]) < 0).all(), ssim
    assert (np.diff(psnr) < 0).all(), psnr
    assert ssim[0] - ssim[-1] > 0.03, ssim


@pytest.mark.parametrize("kind", KINDS)
def test_pure_and_seeded(kind: str, photographs: list[np.ndarray]) -> None:
    picture = photographs[0][:64, :97]  # not square, and a view that is not contiguous
    before = picture.copy()
    once = distort(picture, kind, 3, seed=1)
    assert once.shape == picture.shape
    assert once.dtype == np.uint8
    assert np.array_equal(picture, before)
    assert np.array_equal(once, distort(picture, kind, 3, seed=1))
    others = [distort(picture, kind, 3, seed) for seed in range(2, 8)]
    assert any(not np.array_equal(once, other) for other in others) == (kind in RANDOM)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("value", [0, 255])
def test_smallest_flat_picture(kind: str, value: int) -> None:
    distorted = distort(np.full((32, 32, 3), value, np.uint8), kind, 5, seed=0)
    assert distorted.shape == (32, 32, 3)


def test_known_values() -> None:
    picture = np.zeros((32, 32, 3), np.uint8)
    picture[:, 16:] = (200, 100, 0)
    assert set(np.unique(distort(picture, "mean_shift", 2, 0))) <= {0, 28, 128, 228, 172, 72}  # 0.11 x 255 = 28.05
    grey = distort(picture, "color_saturation_1", 5, 0)
    assert (grey == grey[..., :1]).all()
    assert set(np.unique(distort(picture, "quantization", 5, 0))) <= {0, 128, 255}
    flatter = distort(picture, "contrast_change", 2, 0)  # 0.55 of the range about the mean of 100
    assert (flatter[0, 0, 0], flatter[0, 31, 0]) == (45, 155)
