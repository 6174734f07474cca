"""A description of a database for people, and a contact sheet of its images from worst to best."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from grmp.data.databases._entry import Database
from grmp.data.dataset import Dataset
from grmp.files import whole

COLUMNS, ROWS, TILE, LABEL = 8, 3, 160, 18  # the last two in pixels


def card(entry: Database, dataset: Dataset | None) -> str:
    """Counts, range, terms and citation as lines of text; measured values if the database is prepared."""
    scores = entry.scores
    better = "MOS, higher is better" if scores.higher_better else "DMOS, lower is better"
    facts = {"name": f"{entry.name} ({entry.kind})", "images": f"{scores.count or 'as rendered'}"}
    facts["scores"] = f"{scores.low:g} .. {scores.high:g} ({better})"
    if dataset is not None:
        t, mos, info = dataset.index, dataset.index["mos"], dataset.info
        count = f"{len(t)} images of {dataset.images.shape[2]} x {dataset.images.shape[3]}"
        count += f", {len(info['left_out'])} left out" if info["left_out"] else ""
        spread = f"mean {mos.mean():.2f}, sd {mos.std(ddof=0):.2f}"
        facts["prepared"] = f"{count}; scores {mos.min():.2f} .. {mos.max():.2f}, {spread}"
        facts["pixels"] = "smallest {smallest}, median {median}, largest {largest}".format(**info["pixels"])
        facts["decoded by"] = ", ".join(f"{name} {version}" for name, version in info["decoder"].items())
        if t["reference"].notna().any():
            types = f", {t['distortion'].nunique()} distortion types" if t["distortion"].notna().any() else ""
            facts["sources"] = f"{t['reference'].nunique()} source images{types}"
    if entry.sources:
        facts["download"] = f"{size(entry.download)}; about {size(entry.disk)} unpacked"
        facts["by hand"] = f"{entry.by_hand}; then: grmp data fetch {entry.name} --from PATH"
    facts |= {"page": entry.page, "terms": entry.terms, "cite": entry.citation}
    return "\n".join([entry.title, *(f"  {name:<10} {text}" for name, text in facts.items())])


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def sheet(dataset: Dataset, path: Path) -> None:
    """Save images evenly spaced over the ranks of quality, worst first, each with its score and its name."""
    order = np.argsort(dataset.index["quality"].to_numpy(), kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(COLUMNS * ROWS, len(order))).round().astype(int)]
    rows = -(-len(chosen) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + LABEL)), "white")
    pen = ImageDraw.Draw(page)
    for place, row in enumerate(chosen):
        left, top = place % COLUMNS * TILE, place // COLUMNS * (TILE + LABEL)
        image = Image.fromarray(np.ascontiguousarray(dataset.images[row].transpose(1, 2, 0)))
        page.paste(image.resize((TILE - 4, TILE - 4), Image.Resampling.BICUBIC), (left + 2, top + 2))
        score, name = dataset.index["mos"].iloc[row], dataset.index["image"].iloc[row]
        pen.text((left + 4, top + TILE), f"{score:.2f}  {name}"[:26], fill="black")
    with whole(path) as partial:
        page.save(partial, format="PNG")
