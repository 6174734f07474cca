"""The 25 distortion types of KADID-10k at five levels, for any RGB image.

The types and their order are those of Lin, Hosu and Saupe, "KADID-10k: a large-scale artificially distorted IQA
database" (QoMEX 2019), section III. The strengths are our own: theirs suit 512 x 384 images and are not all monotone (their
mean shift alternates in sign, their first blur changes nothing). Ours make every level visibly worse than the one before on
images of about 100 pixels.
"""

import io
from collections.abc import Callable

import cv2
import numpy as np
from PIL import Image
from skimage.restoration import denoise_tv_chambolle

Picture = np.ndarray  # (H, W, 3) uint8 outside, float32 in [0, 1] within
LEVELS = (1, 2, 3, 4, 5)
HSV, LAB = (cv2.COLOR_RGB2HSV, cv2.COLOR_HSV2RGB), (cv2.COLOR_RGB2Lab, cv2.COLOR_Lab2RGB)


def distort(image: Picture, kind: str, level: int, seed: int) -> Picture:
    """RGB, (H, W, 3) uint8, H and W >= 32 -> the same with a distortion of ``KINDS``, of level 1 (weakest) to 5.

    The random distortions depend on ``seed``.
    """
    apply, amounts = _TABLE[kind]
    result = apply(image.astype(np.float32) / 255, amounts[level - 1], np.random.default_rng([seed, KINDS.index(kind)]))
    return _to_bytes(result)


def _to_bytes(image: Picture) -> Picture:
    return np.round(np.clip(image, 0, 1) * 255).astype(np.uint8)


def _blurred(image: Picture, sigma: float) -> Picture:
    return cv2.GaussianBlur(image, (0, 0), sigma, borderType=cv2.BORDER_REFLECT)


def _scaled(image: Picture, there: int, back: int, *factors: float) -> Picture:
    """Each channel of another colour space multiplied by a factor."""
    return cv2.cvtColor(cv2.cvtColor(image, there) * np.array(factors, np.float32), back)


def _lens_blur(image: Picture, radius: float, rng: np.random.Generator) -> Picture:
    reach = np.arange(-int(np.ceil(radius)), int(np.ceil(radius)) + 1)
    disk = np.clip(radius + 0.5 - np.hypot(reach[:, None], reach), 0, 1).astype(np.float32)
    return cv2.filter2D(image, -1, disk / disk.sum(), borderType=cv2.BORDER_REFLECT)


def _motion_blur(image: Picture, length: float, rng: np.random.Generator) -> Picture:
    angle = rng.uniform(0, np.pi)
    half = int(length // 2)
    kernel = np.zeros((2 * half + 3, 2 * half + 3), np.float32)
    for step in np.linspace(-half, half, 8 * half + 1):  # a line spread over its four nearest taps
        x, y = half + 1 + step * np.cos(angle), half + 1 + step * np.sin(angle)
        i, j = int(y), int(x)
        kernel[i : i + 2, j : j + 2] += np.outer([1 - (y - i), y - i], [1 - (x - j), x - j])
    return cv2.filter2D(image, -1, kernel / kernel.sum(), borderType=cv2.BORDER_REFLECT)


def _color_diffusion(image: Picture, sigma: float, rng: np.random.Generator) -> Picture:
    lab = cv2.cvtColor(image, cv2.COLOR_RGB2Lab)
    lab[..., 1:] = _blurred(lab[..., 1:], sigma)
    return cv2.cvtColor(lab, cv2.COLOR_Lab2RGB)


def _color_shift(image: Picture, pixels: float, rng: np.random.Generator) -> Picture:
    angle = rng.uniform(0, 2 * np.pi)
    move = np.array([[1, 0, pixels * np.cos(angle)], [0, 1, pixels * np.sin(angle)]], np.float32)
    height, width = image.shape[:2]
    shifted = image.copy()
    shifted[..., 1] = cv2.warpAffine(image[..., 1], move, (width, height), borderMode=cv2.BORDER_REFLECT)
    return shifted


def _color_quantization(image: Picture, colors: float, rng: np.random.Generator) -> Picture:
    indexed = Image.fromarray(_to_bytes(image)).quantize(int(colors), dither=Image.Dither.NONE)
    return np.asarray(indexed.convert("RGB"), np.float32) / 255


def _encoded(image: Picture, **options: object) -> Picture:
    buffer = io.BytesIO()
    Image.fromarray(_to_bytes(image)).save(buffer, **options)  # type: ignore[arg-type]
    return np.asarray(Image.open(buffer).convert("RGB"), np.float32) / 255


def _white_noise(image: Picture, sd: float, rng: np.random.Generator) -> Picture:
    return image + sd * rng.standard_normal(image.shape, np.float32)


def _white_noise_in_color_component(image: Picture, sd: float, rng: np.random.Generator) -> Picture:
    luma_chroma: Picture = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)
    luma_chroma[..., 1:] += sd * rng.standard_normal((*image.shape[:2], 2), np.float32)
    return cv2.cvtColor(luma_chroma, cv2.COLOR_YCrCb2RGB)


def _impulse_noise(image: Picture, share: float, rng: np.random.Generator) -> Picture:
    draw = rng.random(image.shape, np.float32)
    return np.where(draw < share / 2, 0, np.where(draw > 1 - share / 2, 1, image)).astype(np.float32)


def _denoise(image: Picture, sd: float, rng: np.random.Generator) -> Picture:
    """Noise, and the flat patches that its removal by total variation leaves (Chambolle 2004)."""
    noisy = np.clip(_white_noise(image, sd, rng), 0, 1)
    return denoise_tv_chambolle(noisy, weight=1.2 * sd, max_num_iter=40, channel_axis=-1)


def _jitter(image: Picture, pixels: float, rng: np.random.Generator) -> Picture:
    y, x = np.indices(image.shape[:2], np.float32)
    dx, dy = pixels * rng.standard_normal((2, *image.shape[:2]), np.float32)
    return cv2.remap(image, x + dx, y + dy, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT)


def _corner(image: Picture, side: int, rng: np.random.Generator) -> list[int]:
    """Row and column at which a random square begins."""
    return [int(rng.integers(0, n - side + 1)) for n in image.shape[:2]]


def _non_eccentricity_patch(image: Picture, count: float, rng: np.random.Generator) -> Picture:
    """Small patches replaced by others from nearby."""
    height, width = image.shape[:2]
    side = max(4, min(height, width) // 12)
    result = image.copy()
    for _ in range(int(count)):
        i, j = _corner(image, side, rng)
        k, m = (int(np.clip(at + rng.integers(-side, side + 1), 0, n - side)) for at, n in ((i, height), (j, width)))
        result[i : i + side, j : j + side] = image[k : k + side, m : m + side]
    return result


def _pixelate(image: Picture, cell: float, rng: np.random.Generator) -> Picture:
    height, width = image.shape[:2]
    rows, columns = (np.arange(0, n, int(cell)) for n in (height, width))
    sums = np.add.reduceat(np.add.reduceat(image, rows, 0), columns, 1)
    areas = np.outer(np.diff(rows, append=height), np.diff(columns, append=width))
    y, x = (np.arange(n) // int(cell) for n in (height, width))
    return (sums / areas[..., None])[y[:, None], x]


def _color_block(image: Picture, count: float, rng: np.random.Generator) -> Picture:
    side = max(4, min(image.shape[:2]) // 8)
    result = image.copy()
    for _ in range(int(count)):
        i, j = _corner(image, side, rng)
        result[i : i + side, j : j + side] = rng.random(3)
    return result


# In KADID-10k's order, 1 to 25: the function, and its argument for the five levels in the function's own unit.
_TABLE: dict[str, tuple[Callable[[Picture, float, np.random.Generator], Picture], tuple[float, ...]]] = {
    "gaussian_blur": (lambda x, sigma, rng: _blurred(x, sigma), (0.6, 1.0, 1.6, 2.6, 4.5)),
    "lens_blur": (_lens_blur, (1, 1.7, 2.7, 4.3, 7)),
    "motion_blur": (_motion_blur, (3, 5, 9, 13, 21)),
    "color_diffusion": (_color_diffusion, (2, 4, 8, 14, 28)),
    "color_shift": (_color_shift, (0.8, 1.6, 3, 5, 9)),
    "color_quantization": (_color_quantization, (64, 32, 16, 8, 4)),
    "color_saturation_1": (lambda x, factor, rng: _scaled(x, *HSV, 1, factor, 1), (0.7, 0.5, 0.3, 0.15, 0)),
    "color_saturation_2": (lambda x, factor, rng: _scaled(x, *LAB, 1, factor, factor), (1.4, 2, 3, 5, 9)),
    "jpeg2000": (
        lambda x, ratio, rng: _encoded(
            x, format="JPEG2000", quality_mode="rates", quality_layers=[ratio], irreversible=True
        ),
        (14, 26, 45, 80, 140),
    ),
    "jpeg": (lambda x, quality, rng: _encoded(x, format="JPEG", quality=int(quality)), (45, 28, 15, 8, 4)),
    "white_noise": (_white_noise, (0.04, 0.07, 0.11, 0.17, 0.27)),
    "white_noise_in_color_component": (_white_noise_in_color_component, (0.04, 0.07, 0.11, 0.17, 0.27)),
    "impulse_noise": (_impulse_noise, (0.005, 0.015, 0.04, 0.09, 0.2)),
    "multiplicative_noise": (
        lambda x, sd, rng: x * (1 + sd * rng.standard_normal(x.shape, np.float32)),
        (0.08, 0.14, 0.24, 0.4, 0.7),
    ),
    "denoise": (_denoise, (0.03, 0.06, 0.1, 0.16, 0.26)),
    "brighten": (lambda x, amount, rng: x ** (1 / (1 + amount)), (0.15, 0.35, 0.7, 1.3, 2.5)),
    "darken": (lambda x, amount, rng: x ** (1 + amount), (0.15, 0.35, 0.7, 1.3, 2.5)),
    "mean_shift": (lambda x, amount, rng: x + amount * rng.choice([-1, 1]), (0.06, 0.11, 0.18, 0.27, 0.4)),
    "jitter": (_jitter, (0.3, 0.5, 0.9, 1.6, 3)),
    "non_eccentricity_patch": (_non_eccentricity_patch, (5, 12, 25, 50, 100)),
    "pixelate": (_pixelate, (2, 3, 4, 6, 10)),
    "quantization": (lambda x, values, rng: np.round(x * (values - 1)) / (values - 1), (14, 10, 7, 4, 3)),
    "color_block": (_color_block, (1, 3, 6, 10, 18)),
    "high_sharpen": (lambda x, amount, rng: x + amount * (x - _blurred(x, 1.0)), (0.7, 1.5, 3, 6, 14)),
    "contrast_change": (lambda x, factor, rng: (m := x.mean((0, 1))) + factor * (x - m), (0.75, 0.55, 0.4, 0.27, 0.15)),
}
KINDS: tuple[str, ...] = tuple(_TABLE)
