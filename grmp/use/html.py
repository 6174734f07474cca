"""``grmp score --html``: one self-contained page with thumbnails sorted by score, a histogram and a filter."""

import base64
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jinja2
import numpy as np
from tqdm import tqdm

from grmp.data import decode
from grmp.data.scale import Scale
from grmp.device import cpus
from grmp.files import write_text

SIDE = 320  # pixels of a thumbnail, at most
BINS = 20


def write(path: Path, scored: Sequence[tuple[Path, dict]], scale: Scale, meaning: str) -> None:
    """Write the page for (file, row of ``grmp score``); images without a score, or gone since, are counted and not shown."""
    shown = sorted((s for s in scored if np.isfinite(s[1]["quality"])), key=lambda s: s[1]["quality"])
    files = [file for file, _ in shown]
    with ThreadPoolExecutor(cpus()) as pool:
        thumbnails = list(tqdm(pool.map(thumbnail, files), "thumbnails", len(files), delay=5, disable=None))
    shown = [one for one, image in zip(shown, thumbnails, strict=True) if image]
    cards = []
    for (_, row), image in zip(shown, filter(None, thumbnails), strict=True):
        ends = sorted(scale.quality(np.array([row["low"], row["high"]])))  # on [0, 1], for the bar
        cards.append(row | {"thumbnail": image, "from": ends[0], "to": ends[1]})
    bins = np.histogram([row["quality"] for _, row in shown], BINS, (0, 1))[0].tolist()
    page = jinja2.Template(Path(__file__).with_name("report.html").read_text(encoding="utf-8"), autoescape=True)
    unread = len(scored) - len(shown)
    write_text(path, page.render(cards=cards, bins=bins, most=max(*bins, 1), meaning=meaning, unread=unread))


def thumbnail(file: Path) -> str:
    """A small JPEG in base64; empty if the file can no longer be read."""
    try:
        image, data = decode.load(file, displayed=True), io.BytesIO()
    except decode.FAULTS:
        return ""
    image.thumbnail((SIDE, SIDE))
    image.save(data, "JPEG", quality=80)
    return base64.b64encode(data.getvalue()).decode()
