"""Early stopping as published (departure 8): best epoch, learning rate and end are all chosen on the test images."""

import math

import numpy as np
import scipy

from grmp.params import Adapt

FACTOR, LOWEST_RATE = 0.3, 5e-7  # finetune.py: the learning rate falls by the factor; below the lowest, training stops


class EarlyStopping:
    """Keeps the best test scores of one split and lowers the learning rate when they stop improving."""

    def __init__(self, settings: Adapt, quality: np.ndarray) -> None:
        """``quality`` of the test images, in the order of the scores."""
        self.settings, self.quality, self.rate = settings, quality, settings.learning_rate
        self.best, self.best_sum, self.waited = np.empty(0), -math.inf, 0

    def update(self, scores: np.ndarray | None, epoch: int) -> bool:
        """Take the scores of an epoch (None if it was not evaluated), possibly lower ``rate``; True: training stops."""
        if scores is not None:
            self.waited += epoch >= 0
            correlations = scipy.stats.pearsonr, scipy.stats.spearmanr
            both = float(sum(correlation(scores, self.quality)[0] for correlation in correlations))
            both = -math.inf if math.isnan(both) else both  # constant scores: anything else is better
            if both > self.best_sum or not len(self.best):
                self.best, self.best_sum, self.waited = scores, both, 0
        if self.waited >= self.settings.patience and epoch > 10:
            self.waited = 0
            self.rate *= FACTOR
            return self.rate < LOWEST_RATE
        return False
