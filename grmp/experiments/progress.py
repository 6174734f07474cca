"""Progress of a sweep and the time left, estimated from the run records."""

import time
from collections.abc import Sequence
from pathlib import Path

from grmp.experiments.record import Run
from grmp.files import read_json
from grmp.params import RunKey

Past = dict[RunKey, float]  # seconds per split


class Progress:
    """Prints one line for each run that ends."""

    def __init__(self, keys: Sequence[RunKey], parallel: int, root: Path, splits: int) -> None:
        """``parallel`` runs of ``splits`` splits at a time."""
        self.rest, self.total, self.parallel, self.start = set(keys), len(keys), parallel, time.monotonic()
        self.root, self.splits, self.known = root, splits, past(root)
        self.computed = 0
        self.failed: dict[RunKey, str] = {}

    def update(self, key: RunKey, outcome: str, failure: str = "") -> None:
        """One run has ended: it was "computed", was "up to date", or failed for a reason."""
        self.rest.discard(key)
        self.computed += outcome == "computed"
        if failure:
            self.failed[key] = failure
        self.known |= of_record(key.folder(self.root) / "run.json")
        done = self.total - len(self.rest) - len(self.failed)
        print(
            f"{key}: {f'failed: {failure}' if failure else outcome}; done {done} of {self.total}, "
            f"running {min(self.parallel, len(self.rest))}, failed {len(self.failed)}, "
            f"elapsed {duration(time.monotonic() - self.start)}, {self.left()} left",
            flush=True,
        )

    def left(self) -> str:
        """Estimated time of the remaining runs; a method without a record counts as an average one."""
        seconds, unknown = total(list(self.rest), self.known, self.splits)
        if unknown and not self.known:
            return "unknown time"
        if unknown:
            seconds += unknown * self.splits * sum(self.known.values()) / len(self.known)
        return f"about {duration(seconds / max(1, min(self.parallel, len(self.rest))))}"


def past(root: Path) -> Past:
    """Mean seconds per split of every record below results/runs; unreadable records are ignored."""
    found: Past = {}
    for path in sorted((root / "results/runs").glob("*/*/*/*/run.json")):
        found |= of_record(path)
    return found


def of_record(path: Path) -> Past:
    """The same for one run.json; empty if it cannot be read."""
    try:
        run = Run.model_validate(read_json(path))
        return {run.key: sum(run.seconds) / run.splits}
    except (OSError, ValueError):
        return {}


def estimate(key: RunKey, known: Past) -> float | None:
    """Seconds per split of the nearest record of the same method: same database, protocol and shots, as far as there are."""
    same = [other for other in known if other.method == key.method]
    far = {k: (k.database != key.database, k.protocol != key.protocol, k.shots != key.shots) for k in same}
    return known[min(same, key=lambda k: far[k])] if same else None


def total(keys: Sequence[RunKey], known: Past, splits: int) -> tuple[float, int]:
    """(seconds of all runs whose cost is known, number of runs whose cost is not)."""
    each = [estimate(key, known) for key in keys]
    return splits * sum(s for s in each if s is not None), sum(s is None for s in each)


def duration(seconds: float) -> str:
    """Seconds in words."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
