"""The progress of a sweep, a line for each run that ends."""

import time

from grmp.cost import duration
from grmp.runs import Key


class Watch:
    """Counts what ends, and says so in a line each."""

    def __init__(self, total: int, at_once: int) -> None:
        """``total`` runs, ``at_once`` of them at a time."""
        self.total, self.at_once, self.start = total, at_once, time.monotonic()
        self.ended, self.computed = 0, 0
        self.failed: dict[Key, str] = {}

    def see(self, key: Key, state: str, word: str) -> None:
        """One run has ended."""
        if (state, word) == ("done", "busy"):
            return
        self.ended += 1
        self.computed += (state, word) == ("done", "computed")
        if state == "failed":
            self.failed[key] = word
        rest = self.total - self.ended
        spent = time.monotonic() - self.start
        told = word if state == "done" else f"failed: {word}"
        print(
            f"{key}: {told}; done {self.ended - len(self.failed)} of {self.total}, running {min(self.at_once, rest)}, "
            f"failed {len(self.failed)}, {duration(spent)} so far, about {duration(spent / self.ended * rest)} left",
            flush=True,
        )
