"""What runs will take, from what past ones took: read from the run records alone."""

import math
from collections.abc import Sequence
from pathlib import Path

from grmp.experiments.records import Run
from grmp.files import read_json
from grmp.params import RunKey

Past = dict[RunKey, float]  # seconds of one split


def past(world: Path) -> Past:
    """Mean seconds of a split of every record below results/runs; what cannot be read is passed over."""
    found: Past = {}
    for path in sorted((world / "results/runs").glob("*/*/*/*/run.json")):
        found |= of_record(path)
    return found


def of_record(path: Path) -> Past:
    """The same of one run.json; nothing if it cannot be read."""
    try:
        run = Run.model_validate(read_json(path))
        return {RunKey(run.protocol, run.database, run.method, run.shots): sum(run.seconds) / run.splits}
    except (OSError, ValueError):
        return {}


def estimate(key: RunKey, known: Past) -> float | None:
    """Seconds of one split of ``key``: those of the nearest record of its method, or None if there is none.

    Nearest: of the same protocol, then database, then with the closest number of shots. Between two shot counts of
    a database time is taken as a straight line through both; elsewhere the nearest one's is taken as it is.
    """
    same = {k: s for k, s in known.items() if k.method == key.method}
    if not same:
        return None

    def far(other: RunKey) -> tuple[bool, bool, float]:
        return other.database != key.database, other.protocol != key.protocol, _ratio(other.shots, key.shots)

    nearest, *rest = sorted(same, key=far)
    second = next((k for k in rest if far(k)[:2] == far(nearest)[:2] and k.shots != nearest.shots), None)
    if second is None or not all(isinstance(k.shots, int) for k in (key, nearest, second)):
        return same[nearest]
    a, b, wanted = int(nearest.shots), int(second.shots), int(key.shots)
    line = same[nearest] + (same[second] - same[nearest]) / (b - a) * (wanted - a)
    return max(line, 0.5 * same[nearest])


def _ratio(a: int | str, b: int | str) -> float:
    """How far apart two shot counts are; shares of the training side are far from any number."""
    if a == b:
        return 0.0
    return abs(math.log(a / b)) if isinstance(a, int) and isinstance(b, int) else math.inf


def total(keys: Sequence[RunKey], known: Past, splits: int) -> tuple[float, int]:
    """(seconds of all runs whose cost is known, how many are not)."""
    each = [estimate(key, known) for key in keys]
    return splits * sum(s for s in each if s is not None), sum(s is None for s in each)


def duration(seconds: float) -> str:
    """Seconds for people."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
