"""How figures look: one style file, one look per method, and bytes that do not change from run to run.

Figures are plain ``matplotlib.figure.Figure`` objects; no backend is chosen, so a machine without a screen is no matter.
"""

from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.figure import Figure
from matplotlib.style import context
from PIL import Image, ImageChops

from grmp.files import whole

COLUMN, PAGE = 3.3, 6.9  # inches: widths of one column and of the page
STYLE = [
    "default",
    str(Path(__file__).parent / "paper.mplstyle"),
]  # the default first: no user's matplotlibrc shows through
FORMATS = ("png", "pdf", "svg")
UNSEEN, RARE = 16, 0.01  # a palette may change a channel by that much (of 255), and this share of the pixels by more

# Okabe and Ito's colours without the yellow, then eight of Tol's "muted" ones: told apart with any colour vision within each
# eight; the second eight have open markers. In black and white, marker and line style tell all sixteen apart.
COLOURS = ("#6E6E6E", "#E69F00", "#56B4E9", "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#000000")
MORE_COLOURS = ("#882255", "#999933", "#332288", "#44AA99", "#AA4499", "#117733", "#B8860B", "#661100")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
LINES = (":", "-.", "--", "-", (0, (5, 1)), (0, (3, 1, 1, 1)), (0, (1, 1)), (0, (8, 2)))

P = ParamSpec("P")
R = TypeVar("R")


def styled(draw: Callable[P, R]) -> Callable[P, R]:
    """Decorator: run ``draw`` under the style file."""

    @wraps(draw)
    def inner(*args: P.args, **kwargs: P.kwargs) -> R:
        with context(STYLE, after_reset=True):
            return draw(*args, **kwargs)

    return inner


def line_styles(names: Iterable[str]) -> dict[str, dict[str, Any]]:
    """Plot keywords for each name, by its position: give all methods of params.yaml, so that a method's look never changes.

    From the seventeenth name on colours come round with other markers; the hundred and twenty-ninth line_styles like the first.
    """
    found = {}
    for i, name in enumerate(names):
        more = i // 8 % 2
        colour = (MORE_COLOURS if more else COLOURS)[i % 8]
        found[name] = {
            "color": colour,
            "marker": MARKERS[(i + 3 * (i // 16)) % 8],
            "linestyle": LINES[i % 8],
            "markerfacecolor": "white" if more else colour,
        }
    return found


@styled
def save(figure: Figure, base: Path) -> bytes:
    """Write ``base``.png, .pdf and .svg, free of dates and random names, and light; returns the PNG's bytes."""
    nothing: dict[str, dict[str, Any]] = {
        "png": {"Software": None},
        "pdf": {"CreationDate": None},
        "svg": {"Date": None},
    }
    for kind in FORMATS:
        with whole(base.with_name(f"{base.name}.{kind}")) as beside:
            figure.savefig(beside, format=kind, metadata=nothing[kind])
            if kind == "png":
                _fewer_colours(beside)
    return base.with_name(f"{base.name}.png").read_bytes()


def _fewer_colours(path: Path) -> None:
    """A palette of 256 colours makes a PNG a third as large, and is taken where nobody can see it (not beside photographs)."""
    with Image.open(path) as picture:
        full = picture.convert("RGB")
    light = full.quantize(256)
    apart = np.asarray(ImageChops.difference(full, light.convert("RGB"))).max(axis=2)
    (light if (apart > UNSEEN).mean() < RARE else full).save(path, format="png", optimize=True)


def version() -> str:
    """matplotlib's version, for the provenance line."""
    return mpl.__version__
