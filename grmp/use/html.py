"""``grmp score --html``: one self-contained page with thumbnails sorted by score, a histogram and a filter."""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

import jinja2
import numpy as np

from grmp.data import decode
from grmp.data.scale import Scale
from grmp.files import write_text

SIDE = 320  # pixels of a thumbnail, at most
BINS = 20


def write(path: Path, scored: Sequence[tuple[Path, dict]], scale: Scale, meaning: str) -> None:
    """Write the page for (file, row of ``grmp score``); images without a score, or gone since, are counted and not shown."""
    good = [(file, row) for file, row in scored if np.isfinite(row["quality"])]
    images, _ = decode.each([file for file, _ in good], thumbnail, "thumbnails")
    cards = []
    for file, row in sorted(good, key=lambda one: one[1]["quality"]):
        if file in images:
            ends = sorted(scale.quality(np.array([row["low"], row["high"]])))  # on [0, 1], for the bar
            cards.append(row | {"thumbnail": images[file].decode(), "from": ends[0], "to": ends[1]})
    bins = np.histogram([card["quality"] for card in cards], BINS, (0, 1))[0].tolist()
    page = jinja2.Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"), autoescape=True)
    unread = len(scored) - len(cards)
    write_text(path, page.render(cards=cards, bins=bins, most=max(*bins, 1), meaning=meaning, unread=unread))


def thumbnail(file: Path) -> bytes:
    """A small JPEG in base64."""
    image, data = decode.load(file, displayed=True), io.BytesIO()
    image.thumbnail((SIDE, SIDE))
    image.save(data, "JPEG", quality=80)
    return base64.b64encode(data.getvalue())
