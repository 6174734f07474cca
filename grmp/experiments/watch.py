"""The progress of a sweep, a line for each run that ends."""

import time
from collections.abc import Sequence
from pathlib import Path

from grmp.experiments import cost
from grmp.experiments.cost import duration
from grmp.params import RunKey


class Watch:
    """Counts what ends, and says so in a line each."""

    def __init__(self, keys: Sequence[RunKey], at_once: int, world: Path, splits: int) -> None:
        """``at_once`` runs of ``splits`` splits at a time."""
        self.rest, self.total, self.at_once, self.start = set(keys), len(keys), at_once, time.monotonic()
        self.world, self.splits, self.known = world, splits, cost.past(world)
        self.computed = 0
        self.failed: dict[RunKey, str] = {}

    def see(self, key: RunKey, state: str, word: str) -> None:
        """One run has ended."""
        if (state, word) == ("done", "busy"):
            return
        self.rest.discard(key)
        self.computed += (state, word) == ("done", "computed")
        if state == "failed":
            self.failed[key] = word
        self.known |= cost.of_record(key.folder(self.world) / "run.json")
        told = word if state == "done" else f"failed: {word}"
        done = self.total - len(self.rest) - len(self.failed)
        print(
            f"{key}: {told}; done {done} of {self.total}, running {min(self.at_once, len(self.rest))}, "
            f"failed {len(self.failed)}, {duration(time.monotonic() - self.start)} so far, {self.left()} left",
            flush=True,
        )

    def left(self) -> str:
        """What the rest will take by past records; a method without one is taken for an average one."""
        seconds, unknown = cost.total(list(self.rest), self.known, self.splits)
        if unknown and not self.known:
            return "unknown time"
        if unknown:
            seconds += unknown * self.splits * sum(self.known.values()) / len(self.known)
        return f"about {duration(seconds / max(1, min(self.at_once, len(self.rest))))}"
