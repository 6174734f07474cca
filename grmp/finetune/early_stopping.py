"""The published selection (departure 8): best epoch, learning rate and stopping all read the test split."""

import math

import numpy as np
from scipy.stats import pearsonr, spearmanr

from grmp.params import Adapt

LOWEST_RATE = 5e-7  # finetune.py: the search stops below it


class Search:
    """What one split's test scores have said so far."""

    def __init__(self, settings: Adapt, truth: np.ndarray) -> None:
        """``truth`` is the quality of the test pictures, in their order."""
        self.settings, self.truth, self.rate = settings, truth, settings.learning_rate
        self.best, self.best_sum, self.waited = np.empty(0), -math.inf, 0

    def see(self, scores: np.ndarray | None, epoch: int) -> bool:
        """Take in an evaluation (None between two of them), which may lower ``rate``; True when the search is over."""
        if scores is not None:
            self.waited += epoch >= 0
            found = float(pearsonr(scores, self.truth)[0] + spearmanr(scores, self.truth)[0])
            if found > self.best_sum or not len(self.best):
                self.best, self.best_sum, self.waited = scores, found, 0
        if self.waited >= self.settings.patience and epoch > 10:
            self.waited = 0
            self.rate *= 0.3
            return self.rate < LOWEST_RATE
        return False
