"""A run record computed once more, from what the record itself says went in, and compared with it.

The settings are the record's (``parameters``), not those of params.yaml; pictures, splits, backbone and prompts are the
world's, and where their sha256 is no longer the record's, that is said.
"""

import tempfile
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import ValidationError

from grmp.errors import UserError
from grmp.experiments import runs, sweep
from grmp.experiments.records import Damaged, Record, plain, read_record
from grmp.params import Params, RunKey

TOLERANCE = 1e-4  # largest difference of a score, in units of quality, that another machine's arithmetic may make


@dataclass(frozen=True)
class Comparison:
    """What came of it."""

    verdict: str  # identical, within tolerance, or differs
    largest: float  # difference of a score
    changed: list[str] = field(default_factory=list)  # inputs and versions that are no longer the record's

    def lines(self) -> str:
        """For people; a record may come from elsewhere, so nothing of it goes to a terminal as it is."""
        told = f"{self.verdict}: the largest difference of a score is {self.largest:.3g}"
        return "\n".join([*map(plain, self.changed), told])


def rerun(params: Params, world: Path, folder: Path) -> Comparison:
    """Compute the record in ``folder`` again, in a temporary place, and compare.

    Raises
    ------
    UserError
        If the record is damaged, does not fit this version's settings, or its inputs are not there.
    """
    try:
        old = read_record(folder.resolve())
    except Damaged as damage:
        raise UserError(f"{folder}: {plain(str(damage))}") from None
    key = RunKey(old.run.protocol, old.run.database, old.run.method, old.run.shots)
    settled = restore(params, key, old.run.parameters, old.run.threads)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for name in ("data", "models"):
            (place / name).symlink_to((world / name).resolve())
        sweep.run(settled, place, key)
        new = read_record(key.folder(place.resolve()))
    return compare(old, new)


def restore(params: Params, key: RunKey, recorded: dict[str, Any], threads: int) -> Params:
    """Settings under which ``key`` has exactly the recorded parameters, on as many threads.

    Raises
    ------
    UserError
        If this version has other settings than the one that wrote the record.
    """
    raw = params.model_dump()

    def method(name: str, values: dict[str, Any]) -> None:
        # what the method sets stands in the record's groups
        own: dict[str, Any] = {"set": {}} if values["kind"] == "tune" else {}
        raw["methods"][name] = own | values | {"label": raw["methods"].get(name, {}).get("label", name)}

    try:
        method(key.method, recorded["method"])
        if "teacher" in recorded:
            method(recorded["method"]["teacher"], recorded["teacher"])
        protocol = raw["protocols"].setdefault(key.protocol, raw["protocols"][params.protocol])
        groups: dict[str, Any] = {name: recorded[name] for name in ("adapt", "prompts") if name in recorded}
        groups["splits"], groups["backbone"] = {"count": recorded["splits"]}, {"normalize": recorded["normalize"]}
        groups["adapt"] = groups.get("adapt", {}) | {"threads": threads}
        if "seed" in recorded:
            groups["adapt"] |= {"seed": recorded["seed"]}
        for name, values in groups.items():
            raw[name] |= values
            protocol[name] |= {k: v for k, v in values.items() if k in protocol[name]}
        made = Params.model_validate(raw)
    except (ValidationError, KeyError, TypeError, ValueError) as error:
        reason = plain(" ".join(str(error).split()))
        raise UserError(f"{key}: its record was written by a version with other settings ({reason})") from None
    now = runs.parameters(made, key)
    if different := sorted(k for k in now.keys() | recorded.keys() if now.get(k) != recorded.get(k)):
        raise UserError(
            f"{key}: its record was written by a version with other settings: {plain(', '.join(different))}"
        )
    return made


def compare(old: Record, new: Record) -> Comparison:
    """Scores row by row."""
    changed = [
        f"input {name}: sha256 {digest[:12]} in the record, {new.run.inputs.get(name, 'none')[:12]} now"
        for name, digest in sorted(old.run.inputs.items())
        if new.run.inputs.get(name) != digest
    ]
    changed += [
        f"version of {name}: {was} in the record, {_now(name, new)} now"
        for name, was in sorted(old.run.versions.items())
        if _now(name, new) != was
    ]
    if old.run.device != new.run.device:
        changed.append(f"device: {old.run.device} in the record, {new.run.device} now")
    a, b = old.predictions, new.predictions
    if list(a["split"]) != list(b["split"]) or list(a["image"]) != list(b["image"]):
        return Comparison("differs: other pictures were tested", np.nan, changed)
    if not a["quality"].equals(b["quality"]):
        return Comparison("differs: the opinions are others", np.nan, changed)
    gap = np.abs(a["score"].to_numpy() - b["score"].to_numpy())
    same_failures = a["score"].isna().equals(b["score"].isna())
    largest = float(np.nanmax(gap, initial=0.0))
    if not same_failures:
        return Comparison("differs: other splits failed", largest, changed)
    if largest == 0 and a.equals(b) and old.history.equals(new.history):
        return Comparison("identical", largest, changed)
    return Comparison("within tolerance" if largest <= TOLERANCE else "differs", largest, changed)


def _now(name: str, new: Record) -> str:
    try:
        return new.run.versions.get(name) or version(name)
    except (PackageNotFoundError, ValueError):  # the latter: no name of a package
        return "not installed"
