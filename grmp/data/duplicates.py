"""Images that show the same: copies, and images that differ little, mirrored, turned or framed, by a perceptual hash.

``python -m bench.reading`` measures which changes are recognised.
"""

import hashlib
import itertools

import imagehash
import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

NEAR = 8  # of the 64 bits of a hash may differ
BLOCK = 2048  # images compared with all others at a time
FLAT = 8  # grey levels; the hash of an image without content says nothing
BORDER = 4  # grey levels within which a row or column at an edge is of one colour


def groups(images: np.ndarray, sources: np.ndarray | None = None) -> np.ndarray:
    """(N, 3, S, S) uint8 -> (N,) integers that are equal for copies and for images that look alike.

    Given ``sources`` (N,), images of one source are in one group as well, with all that look like any of them.
    """
    digests = [hashlib.sha256(image.tobytes()).digest() for image in images]
    _, first, copy = np.unique(digests, return_index=True, return_inverse=True)
    edges = [np.column_stack([first[copy], np.arange(len(images))])]
    if sources is not None:
        _, leader, member = np.unique(sources, return_index=True, return_inverse=True)
        edges.append(np.column_stack([leader[member], np.arange(len(images))]))
    # of the 64 bits; 0: without texture
    signs = np.zeros((2, 1 + len(Image.Transpose), len(first), 64), np.float32)
    for i, at in enumerate(tqdm(first, "copies", disable=None, delay=5)):
        image = Image.fromarray(np.moveaxis(images[at], 0, 2)).convert("L")
        signs[:, :, i] = of_turns(image)
        if (inner := without_border(image)).size != image.size:
            signs[1, :, i] = of_turns(inner)
    for views, i in itertools.product(signs, range(0, len(first), BLOCK)):
        for view in views:  # signs that agree minus signs that differ
            one, other = np.nonzero(views[0, i : i + BLOCK] @ view.T >= 64 - 2 * NEAR)
            edges.append(np.column_stack([first[one + i], first[other]]))
    start, end = np.concatenate(edges).T
    return connected_components(coo_array((np.ones(len(start)), (start, end)), (len(images),) * 2))[1]


def of_turns(image: Image.Image) -> list[np.ndarray] | int:
    """The bits of the hash, 1 or -1, of a grey image and of it turned and mirrored; 0 if it has no texture."""
    if np.ptp(np.asarray(image.resize((16, 16)), int)) <= FLAT:
        return 0
    small = image.resize((32, 32), Image.Resampling.LANCZOS)  # as imagehash does
    views = [small, *map(small.transpose, Image.Transpose)]
    return [np.where(imagehash.phash(view).hash.ravel(), 1, -1) for view in views]


def without_border(image: Image.Image) -> Image.Image:
    """A grey image without a border of one colour."""
    rows, columns = (np.flatnonzero(np.ptp(np.asarray(image), axis) > BORDER) for axis in (1, 0))
    return image.crop((columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)) if len(rows) and len(columns) else image
