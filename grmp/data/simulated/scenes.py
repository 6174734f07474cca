"""Rendered scenes: five kinds of content, each image with its own seed.

The two simulated targets need more sources than scikit-image has photographs. Each scene has what distortions act on: edges,
fine texture (1/f, as in photographs: Field 1987), smooth shading and colour.
"""

from collections.abc import Callable
from functools import cache

import cv2
import numpy as np

Field = np.ndarray  # (n, n) float32
Picture = np.ndarray  # (n, n, 3), float32 in [0, 1] or uint8


def render_scene(kind: str, size: int, rng: np.random.Generator) -> Picture:
    """One image of a kind of content, (size, size, 3) uint8, drawn at twice the size so that edges are smooth."""
    n = 2 * size
    picture = RENDERERS[kind](n, rng)
    shade = 1 + 0.3 * fractal(n, 2.2, rng)[..., None]
    grain = rng.uniform(0.02, 0.05) * fractal(n, 0.7, rng)[..., None]
    picture = np.clip(picture * shade + grain, 0, 1).astype(np.float32)
    small = cv2.resize(picture, (size, size), interpolation=cv2.INTER_AREA)
    return np.round(small * 255).astype(np.uint8)


@cache
def _frequencies(n: int) -> np.ndarray:
    f = np.hypot(np.fft.fftfreq(n)[:, None], np.fft.rfftfreq(n))
    f[0, 0] = np.inf
    return f


def fractal(n: int, slope: float, rng: np.random.Generator) -> Field:
    """1/f^slope noise (amplitude), zero mean, clipped to [-1, 1] at two standard deviations."""
    spectrum = np.fft.rfft2(rng.standard_normal((n, n))) / _frequencies(n) ** slope
    field = np.fft.irfft2(spectrum, s=(n, n))
    return np.clip(field / (2 * field.std()), -1, 1).astype(np.float32)


def _palette(count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, 3) colours about one or two hues, light and dark ones among them."""
    hue = (rng.uniform(0, 360) + rng.choice([0, 0, 160], count) + rng.normal(0, 25, count)) % 360
    value = rng.permutation(np.linspace(0.2, 0.95, count))
    hsv = np.stack([hue, rng.uniform(0.15, 0.85, count), value], -1).astype(np.float32)
    return cv2.cvtColor(hsv[None], cv2.COLOR_HSV2RGB)[0]


def _blend(share: Field, first: np.ndarray, second: np.ndarray) -> Picture:
    """``first`` where share is 0, ``second`` where it is 1."""
    return first + np.clip(share, 0, 1)[..., None] * (second - first)


def _leaves(n: int, rng: np.random.Generator) -> Picture:
    """Dead leaves: overlapping ellipses with sizes by a power law (Lee, Mumford and Huang 2001), veined."""
    colors = _palette(12, rng)
    picture = np.full((n, n, 3), colors[0], np.float32)
    for _ in range(260):
        radius = min(6 / rng.uniform(0.06, 1) ** 1.0, n / 4)
        at = tuple(int(v) for v in rng.uniform(0, n, 2))
        axes = int(radius) + 2, int(radius * rng.uniform(0.4, 0.9)) + 1
        angle = rng.uniform(0, 360)
        color = colors[rng.integers(12)] * rng.uniform(0.75, 1.1)
        cv2.ellipse(picture, at, axes, angle, 0, 360, color.tolist(), -1, cv2.LINE_AA)
        tip = np.array([np.cos(np.radians(angle)), np.sin(np.radians(angle))]) * axes[0]
        ends = [tuple(int(v) for v in np.array(at) + s * tip) for s in (-1, 1)]
        cv2.line(picture, ends[0], ends[1], (0.6 * color).tolist(), 2, cv2.LINE_AA)
    return picture


def _sky(n: int, rng: np.random.Generator) -> Picture:
    """Clouds over a sky that grows lighter towards the horizon."""
    height = np.linspace(0, 1, n, dtype=np.float32)[:, None] * np.ones((1, n), np.float32)
    top, horizon = np.array([0.1, 0.3, 0.75]) * rng.uniform(0.5, 1.1), rng.uniform([0.6, 0.6, 0.6], [1, 0.85, 0.95])
    cover = np.clip(1.6 * fractal(n, 1.5, rng) + rng.uniform(-0.2, 0.5), 0, 1)
    relief = 0.75 + 0.25 * fractal(n, 1.1, rng)[..., None]
    return _blend(cover, _blend(height, top, horizon), np.ones(3, np.float32) * relief)


def _tiles(n: int, rng: np.random.Generator) -> Picture:
    """Tiles, each with its own tint and texture, and grout between them."""
    y, x = np.indices((n, n), np.float32) - n / 2
    angle = rng.uniform(0, np.pi)
    x, y = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    side = rng.uniform(26, 60)
    i, j = np.floor(y / side).astype(int) + 50, np.floor(x / side).astype(int) + 50
    colors = _palette(4, rng)[1:]
    chosen = rng.integers(0, 3, (100, 100)) if rng.random() < 0.5 else np.indices((100, 100)).sum(0) % 2
    tile = colors[chosen[i, j]] * rng.uniform(0.8, 1.1, (100, 100))[i, j][..., None]
    tile = tile * (1 + 0.25 * fractal(n, 1.0, rng)[..., None])
    edge = np.minimum(*(np.minimum(v % side, side - v % side) for v in (x, y)))
    return _blend(np.clip((3.5 - edge) / 1.5, 0, 1), tile, np.array([0.85, 0.83, 0.8]) * rng.uniform(0.2, 1))


def _collage(n: int, rng: np.random.Generator) -> Picture:
    """Large polygons with textures of their own."""
    colors = _palette(9, rng)
    picture = np.broadcast_to(colors[0], (n, n, 3)) * (1 + 0.2 * fractal(n, 1.2, rng)[..., None])
    for color in colors[1:]:
        corners = int(rng.integers(3, 6))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        radius = rng.uniform(0.15, 0.4) * n
        points = rng.uniform(0, n, 2) + radius * np.stack([np.cos(angles), np.sin(angles)], -1)
        mask = np.zeros((n, n), np.uint8)
        cv2.fillPoly(mask, [points.astype(np.int32)], 255, cv2.LINE_AA)
        textured = color * (1 + rng.uniform(0.05, 0.5) * fractal(n, rng.uniform(0.5, 1.5), rng)[..., None])
        picture = _blend(mask.astype(np.float32) / 255, picture, textured)
    return picture


def _landscape(n: int, rng: np.random.Generator) -> Picture:
    """Ridges of hills, paler with distance, with grass on the nearest."""
    picture = 0.5 + 0.5 * _sky(n, rng)
    near = rng.uniform([0.05, 0.2, 0.02], [0.4, 0.45, 0.2])
    far = rng.uniform([0.5, 0.55, 0.65], [0.75, 0.75, 0.85])
    rows = np.arange(n, dtype=np.float32)[:, None]
    for distance in np.linspace(1, 0, 5):
        outline = np.cumsum(np.convolve(rng.standard_normal(n + 30), np.ones(31) / 31, "valid"))
        outline = (0.85 - 0.5 * distance + rng.normal(0, 0.03)) * n + rng.uniform(1, 4) * (outline - outline.mean()) / 2
        color = near + distance * (far - near)
        texture = (1 - distance) * 0.7 * fractal(n, 0.8, rng)[..., None]
        inside = np.clip(rows - outline[None], 0, 2).astype(np.float32) / 2
        picture = _blend(inside, picture, color * (1 + texture))
    return picture


RENDERERS: dict[str, Callable[[int, np.random.Generator], Picture]] = {
    "heap of leaves": _leaves,
    "cloudy sky": _sky,
    "tiled floor": _tiles,
    "paper collage": _collage,
    "landscape": _landscape,
}
