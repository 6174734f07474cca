"""Images that show the same: copies, and images that differ little, by a perceptual hash (``python -m bench.reading``)."""

import hashlib

import imagehash
import numpy as np
from PIL import Image
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

NEAR = 8  # of the 64 bits of a hash may differ
FLAT = 8  # grey levels; the hash of an image without content says nothing


def groups(images: np.ndarray, sources: np.ndarray | None = None, near: bool = True) -> np.ndarray:
    """(N, 3, S, S) uint8 -> (N,) integers that are equal for copies and, if ``near``, for images that look alike.

    Given ``sources`` (N,), images of one source are in one group as well, with all that look like any of them.
    """
    kinds = [np.unique([hashlib.sha256(image.tobytes()).hexdigest() for image in images], return_inverse=True)[1]]
    kinds += [] if sources is None else [sources]
    edges = [np.column_stack([np.unique(kind, return_index=True)[1][kind], np.arange(len(images))]) for kind in kinds]
    if near:
        shown = [Image.fromarray(image.transpose(1, 2, 0)).convert("L") for image in images]
        bits = np.array([imagehash.phash(image).hash.ravel() for image in shown], float)
        textured = np.flatnonzero([np.ptp(np.asarray(image.resize((16, 16)), int)) > FLAT for image in shown])
        if len(textured):
            tree = cKDTree(bits[textured])
            edges.append(textured[tree.query_pairs(NEAR + 0.5, p=1, output_type="ndarray")])
    start, end = np.concatenate(edges).T
    return connected_components(coo_array((np.ones(len(start)), (start, end)), (len(images),) * 2))[1]
