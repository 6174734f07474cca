"""Pictures as print needs them: no larger than they are shown."""

import numpy as np
from PIL import Image


def shrunk(picture: np.ndarray, pixels: int) -> np.ndarray:
    """(3, h, w) uint8 -> (h, w, 3), its longer side at most ``pixels``."""
    image = Image.fromarray(np.ascontiguousarray(picture.transpose(1, 2, 0)))
    image.thumbnail((pixels, pixels), Image.Resampling.LANCZOS)
    return np.asarray(image)
