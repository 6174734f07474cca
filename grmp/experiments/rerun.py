"""``grmp rerun``: compute a run record again from the settings that it states, and compare.

The settings are those of the record (``parameters``), not those of params.yaml. Images, splits, backbone and prompts are
those of the pipeline folder; each whose sha256 differs from the record is reported.
"""

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from grmp.errors import UserError, one_line
from grmp.experiments import identity
from grmp.experiments.record import CorruptRecord, Record, Run, plain, read_record
from grmp.experiments.run import run
from grmp.params import Params, RunKey, validate

TOLERANCE = 1e-4  # largest difference of a score, in units of quality, between two machines


@dataclass(frozen=True)
class Comparison:
    """The result of the comparison."""

    verdict: str  # identical, within tolerance, or differs
    largest: float  # difference of a score
    changed: list[str] = field(default_factory=list)  # inputs and versions that differ from the record

    def lines(self) -> str:
        """As text; a record may come from elsewhere, so control characters are removed."""
        verdict = f"{self.verdict}: largest difference of a score {self.largest:.3g}"
        return "\n".join([*map(plain, self.changed), verdict])


def rerun(params: Params, root: Path, folder: Path) -> Comparison:
    """Compute the record in ``folder`` again, in a temporary folder, and compare.

    Raises UserError if the record is corrupt, does not fit the settings of this version, or an input is missing.
    """
    try:
        old = read_record(folder.resolve())
    except CorruptRecord as error:
        raise UserError(f"{folder}: {plain(str(error))}") from None
    key = old.run.key
    settings = restore(params, key, old.run.parameters, old.run.threads)
    with tempfile.TemporaryDirectory() as scratch:
        place = Path(scratch)
        for name in ("data", "models"):
            (place / name).symlink_to((root / name).resolve())
        run(settings, place, key)
        new = read_record(key.folder(place.resolve()))
    return compare(old, new)


def restore(params: Params, key: RunKey, recorded: dict[str, Any], threads: int) -> Params:
    """Settings under which ``key`` has exactly the recorded parameters, on as many threads.

    Raises UserError if this version has other settings than the one that wrote the record.
    """
    raw = params.model_dump()

    def method(name: str, values: dict[str, Any]) -> None:
        # the values that the method sets are in the groups of the record
        empty: dict[str, Any] = {"set": {}} if values["kind"] == "tune" else {}
        raw["methods"][name] = empty | values | {"label": raw["methods"].get(name, {}).get("label", name)}

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
        made = validate(raw)
    except (UserError, KeyError, TypeError, ValueError) as error:
        reason = plain(one_line(error, 240))
        raise UserError(f"{key}: its record was written by a version with other settings ({reason})") from None
    now = identity.parameters(made, key)
    if different := sorted(k for k in now.keys() | recorded.keys() if now.get(k) != recorded.get(k)):
        names = plain(", ".join(different))
        raise UserError(f"{key}: its record was written by a version with other settings: {names}")
    return made


def compare(old: Record, new: Record) -> Comparison:
    """Compare scores row by row."""
    now = _facts(new.run)
    changed = [
        f"{what}: {was} in the record, {now.get(what, 'none')} now"
        for what, was in _facts(old.run).items()
        if now.get(what) != was
    ]
    a, b = old.predictions, new.predictions
    if list(a["split"]) != list(b["split"]) or list(a["image"]) != list(b["image"]):
        return Comparison("differs: other images were tested", np.nan, changed)
    if not a["quality"].equals(b["quality"]):
        return Comparison("differs: other ratings", np.nan, changed)
    gap = np.abs(a["score"].to_numpy() - b["score"].to_numpy())
    same_failures = a["score"].isna().equals(b["score"].isna())
    largest = float(np.nanmax(gap, initial=0.0))
    if not same_failures:
        return Comparison("differs: other splits failed", largest, changed)
    if largest == 0 and a.equals(b) and old.history.equals(new.history):
        return Comparison("identical", largest, changed)
    return Comparison("within tolerance" if largest <= TOLERANCE else "differs", largest, changed)


def _facts(run: Run) -> dict[str, str]:
    """What a run was computed from, and with what."""
    inputs = {f"input {name}": f"sha256 {digest[:12]}" for name, digest in sorted(run.inputs.items())}
    versions = {f"version of {name}": number for name, number in sorted(run.versions.items())}
    return inputs | versions | {"device": run.device}
