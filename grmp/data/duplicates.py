"""Images that show the same: copies, and images that differ little, by a perceptual hash (``python -m bench.reading``)."""

import hashlib

import imagehash
import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from tqdm import tqdm

NEAR = 8  # of the 64 bits of a hash may differ
BLOCK = 2048  # hashes compared with all others at a time
FLAT = 8  # grey levels; the hash of an image without content says nothing


def groups(images: np.ndarray, sources: np.ndarray | None = None, near: bool = True) -> np.ndarray:
    """(N, 3, S, S) uint8 -> (N,) integers that are equal for copies and, if ``near``, for images that look alike.

    Given ``sources`` (N,), images of one source are in one group as well, with all that look like any of them.
    """
    kinds = [np.unique([hashlib.sha256(image.tobytes()).hexdigest() for image in images], return_inverse=True)[1]]
    kinds += [] if sources is None else [sources]
    edges = [np.column_stack([np.unique(kind, return_index=True)[1][kind], np.arange(len(images))]) for kind in kinds]
    if near:
        shown = (Image.fromarray(np.moveaxis(image, 0, 2)).convert("L") for image in images)
        signs = np.zeros((len(images), 64), np.float32)  # of the 64 bits; 0 for an image without texture
        for i, image in enumerate(tqdm(shown, "copies", len(images), disable=None, delay=5)):
            if np.ptp(np.asarray(image.resize((16, 16)), int)) > FLAT:
                signs[i] = np.where(imagehash.phash(image).hash.ravel(), 1, -1)
        hashes, first, which = np.unique(signs, axis=0, return_index=True, return_inverse=True)
        edges.append(np.column_stack([first[which], np.arange(len(images))])[signs.any(1)])
        for i in range(0, len(hashes), BLOCK):  # signs that agree minus signs that differ
            one, other = np.nonzero(hashes[i : i + BLOCK] @ hashes.T >= 64 - 2 * NEAR)
            edges.append(np.column_stack([first[one + i], first[other]]))
    start, end = np.concatenate(edges).T
    return connected_components(coo_array((np.ones(len(start)), (start, end)), (len(images),) * 2))[1]
