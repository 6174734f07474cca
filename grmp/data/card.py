"""What a database is, for people: its card, and a sheet of pictures from its worst to its best."""

from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from grmp.data.dataset import Dataset
from grmp.data.registry import Database
from grmp.files import whole

COLUMNS, ROWS, TILE, LABEL = 8, 3, 160, 18  # pixels


def card(entry: Database, prepared: Dataset | None) -> str:
    """Counts, range, terms and citation as lines of text; what was measured where the database is prepared."""
    better = "MOS, higher is better" if entry.higher_better else "DMOS, lower is better"
    lines = [
        entry.title,
        f"  name       {entry.name} ({entry.kind})",
        f"  pictures   {entry.count or 'as rendered'}",
        f"  scores     {entry.low:g} .. {entry.high:g} ({better})",
    ]
    if prepared is not None:
        t = prepared.index
        mos, left_out = t["mos"], len(prepared.info.get("left_out", []))
        lines.append(
            f"  prepared   {len(t)} pictures of {prepared.images.shape[2]} x {prepared.images.shape[3]}"
            + (f", {left_out} left out" if left_out else "")
            + f"; scores {mos.min():.2f} .. {mos.max():.2f}, mean {mos.mean():.2f}, sd {mos.std(ddof=0):.2f}"
        )
        if t["reference"].notna().any():
            kinds = f", {t['distortion'].nunique()} distortions" if t["distortion"].notna().any() else ""
            lines.append(f"  sources    {t['reference'].nunique()} source pictures{kinds}")
    if entry.sources:
        lines += [f"  download   {size(entry.download)}; unpacked about {size(entry.disk)}"]
        lines += [f"  by hand    {entry.by_hand}; then: grmp data fetch {entry.name} --from PATH"]
    return "\n".join(
        [*lines, f"  page       {entry.page}", f"  terms      {entry.terms}", f"  cite       {entry.citation}"]
    )


def size(count: int) -> str:
    """Bytes for people."""
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.0f} MB"


def sheet(prepared: Dataset, path: Path) -> None:
    """Save pictures evenly spaced over the ranks of quality, worst first, each with its score and its name."""
    order = np.argsort(prepared.index["quality"].to_numpy(), kind="stable")
    chosen = order[np.linspace(0, len(order) - 1, min(COLUMNS * ROWS, len(order))).round().astype(int)]
    rows = -(-len(chosen) // COLUMNS)
    page = Image.new("RGB", (COLUMNS * TILE, rows * (TILE + LABEL)), "white")
    pen = ImageDraw.Draw(page)
    for place, row in enumerate(chosen):
        left, top = place % COLUMNS * TILE, place // COLUMNS * (TILE + LABEL)
        picture = Image.fromarray(np.ascontiguousarray(prepared.images[row].transpose(1, 2, 0)))
        page.paste(picture.resize((TILE - 4, TILE - 4), Image.Resampling.BICUBIC), (left + 2, top + 2))
        score, name = prepared.index["mos"].iloc[row], prepared.index["image"].iloc[row]
        pen.text((left + 4, top + TILE), f"{score:.2f}  {name}"[:26], fill="black")
    with whole(path) as beside:
        page.save(beside, format="PNG")
