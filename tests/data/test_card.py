"""The card says what is known and what was measured; the sheet shows worst to best."""

import numpy as np
from PIL import Image

from grmp.data import card, databases, dataset
from grmp.data.prepare import prepare


def test_card_and_sheet(fetched):
    entry = databases.get("toy")
    assert "images     as rendered" in card.card(entry, None)
    prepare("toy", fetched / "raw", fetched / "prepared", 8, "squash")
    made = dataset.load(fetched / "prepared/toy")
    lines = card.card(entry, made).splitlines()
    assert "  prepared   9 images of 8 x 8; scores 1.00 .. 9.00, mean 5.00, sd 2.58" in lines
    assert "  pixels     smallest 30x20, median 30x20, largest 30x20" in lines
    assert any(f"pillow {Image.__version__}" in line for line in lines if line.startswith("  decoded by "))
    assert card.size(1_500_000_000) == "1.5 GB"
    assert "by hand    request the password" in card.card(databases.get("livec"), None)
    card.sheet(made, fetched / "sheet.png")
    with Image.open(fetched / "sheet.png") as sheet:
        assert sheet.size == (1280, 356)
        tile = np.asarray(sheet.crop((2, 2, 158, 158)), float)
    assert abs(tile.mean() - made.images[0].mean()) < 2
