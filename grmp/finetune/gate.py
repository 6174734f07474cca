"""A gate over several fine-tuned models, one for each database, by the distance between features.

In the manner of Task-Specific Normalization (Zhang et al., arXiv 2107.13429): features of the frozen backbone are clustered by
K-means, database by database; an image belongs to a database as far as it is near to one of its centroids. The weights are
the softmax of minus the squared distance, in units of the mean squared distance of training images to their own centroids,
so there is no temperature to choose.
"""

from dataclasses import dataclass

import numpy as np
from scipy.spatial.distance import cdist
from scipy.special import softmax


@dataclass(frozen=True)
class Gate:
    """Centroids (C, E) of each database, and the mean squared distance of training images to them."""

    centroids: dict[str, np.ndarray]
    spread: float

    @classmethod
    def fit(cls, features: dict[str, np.ndarray], clusters: int, seed: int) -> "Gate":
        """From the features (N, E) of training images of each database; no rating is read."""
        from sklearn.cluster import KMeans

        fitted = {
            name: KMeans(min(clusters, len(x)), n_init=1, random_state=seed).fit(x) for name, x in features.items()
        }
        images = sum(map(len, features.values()))
        spread = sum(f.inertia_ for f in fitted.values()) / images
        return cls({name: f.cluster_centers_ for name, f in fitted.items()}, max(float(spread), 1e-12))

    def weights(self, x: np.ndarray) -> np.ndarray:
        """(N, databases), rows add up to 1, of images with the features ``x`` (N, E)."""
        near = [cdist(x, centres, "sqeuclidean").min(axis=1) for centres in self.centroids.values()]
        return np.asarray(softmax(-np.stack(near, axis=1) / self.spread, axis=1))

    def score(self, x: np.ndarray, scores: dict[str, np.ndarray]) -> np.ndarray:
        """Scores (N,) of images with the features ``x``, from those of the model of each database."""
        each = np.stack([scores[name] for name in self.centroids], axis=1)
        return np.asarray((self.weights(x) * each).sum(axis=1))
