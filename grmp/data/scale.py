"""A rating scale, and what it means on [0, 1]."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Scale:
    """A rating scale: quality is 0 at the worse end, 1 at the better one."""

    low: float
    high: float
    higher_better: bool

    def quality(self, mos: np.ndarray) -> np.ndarray:
        """Ratings -> [0, 1], higher is better."""
        share = (mos - self.low) / (self.high - self.low)
        return share if self.higher_better else 1 - share

    def mos(self, quality: np.ndarray) -> np.ndarray:
        """Quality -> ratings."""
        share = quality if self.higher_better else 1 - quality
        return self.low + share * (self.high - self.low)
