"""``grmp rerun``: compute a run record again from the settings that it states, and compare.

The settings are those of the record (``parameters``), not those of params.yaml. Images, splits, backbone and prompts are
those of the pipeline folder; each whose sha256 differs from the record is reported.
"""

import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from grmp.errors import UserError, one_line
from grmp.experiments import identity
from grmp.experiments.record import CorruptRecord, Record, Run, read_record
from grmp.experiments.run import run
from grmp.params import Params, RunKey, method_settings, validate

TOLERANCE = 1e-4  # largest difference of a score, in units of quality, between two machines


def rerun(params: Params, root: Path, folder: Path) -> tuple[str, float, list[str]]:
    """Compute the record in ``folder`` again, in a temporary folder, and compare.

    Returns the verdict (identical, within tolerance, or differs), the largest difference of a score, and the inputs and
    versions that differ from those of the record. Raises UserError if the record is corrupt, does not fit the settings of
    this version, or an input is missing.
    """
    try:
        old = read_record(folder.resolve())
    except CorruptRecord as error:
        raise UserError(f"{folder}: {error}") from None
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
    """Settings under which ``key`` has exactly the recorded parameters. Raises UserError if this version has other ones."""
    raw = params.model_dump()
    try:
        # methods without ``set``: those values are in the groups of the record
        own = method_settings(key.method, recorded["method"] | {"label": key.method})
        raw["methods"][key.method] = own.model_dump()
        if name := own.learns_from:
            raw["methods"][name] = recorded["teacher"] | {"label": name}
        protocol = raw["protocols"].setdefault(key.protocol, raw["protocols"][params.protocol])
        groups: dict[str, dict[str, Any]] = {
            "adapt": recorded.get("adapt", {}) | {"threads": threads},
            "prompts": recorded.get("prompts", {}),
            "splits": {"count": recorded["splits"]},
            "backbone": {"normalize": recorded["normalize"]},
        }
        if "seed" in recorded:
            groups["adapt"]["seed"] = recorded["seed"]
        raw["continual"]["splits"], raw["attribution"]["split"] = 1, 0  # of no run, and bounded by the count
        for name, values in groups.items():
            raw[name] |= values
            protocol[name] |= {k: v for k, v in values.items() if k in protocol[name]}
        made = validate(raw)
    except (UserError, KeyError, TypeError, ValueError) as error:
        reason = f"{key}: its record was written by a version with other settings ({one_line(error, 240)})"
        raise UserError(reason) from None
    now = identity.parameters(made, key)
    if different := [k for k in sorted(now.keys() | recorded.keys()) if now.get(k) != recorded.get(k)]:
        if different == ["tf32"]:
            how, do = ("with", "set") if "tf32" in recorded else ("without", "unset")
            raise UserError(f"{key}: its record was computed {how} GRMP_TF32=1; {do} the variable and try again")
        raise UserError(f"{key}: its record was written by a version with other settings: {', '.join(different)}")
    return made


def compare(old: Record, new: Record) -> tuple[str, float, list[str]]:
    """What :func:`rerun` returns."""
    was, now = _facts(old.run), _facts(new.run)
    differing = [what for what in was if now.get(what) != was[what]]
    changed = [f"{what}: {was[what]} in the record, {now.get(what, 'none')} now" for what in differing]
    a, b = old.predictions, new.predictions
    if not a[["split", "image"]].equals(b[["split", "image"]]):
        return "differs: other images were tested", np.nan, changed
    if not a["quality"].equals(b["quality"]):
        return "differs: other ratings", np.nan, changed
    largest = float((a["score"] - b["score"]).abs().fillna(0).max())
    if not a["score"].isna().equals(b["score"].isna()):
        return "differs: other splits failed", largest, changed
    if a.equals(b) and old.history.equals(new.history):
        return "identical", largest, changed
    return "within tolerance" if largest <= TOLERANCE else "differs", largest, changed


def _facts(run: Run) -> dict[str, str]:
    """What a run was computed from, and with what."""
    inputs = {f"input {name}": f"sha256 {digest[:12]}" for name, digest in sorted(run.inputs.items())}
    versions = {f"version of {name}": number for name, number in sorted(run.versions.items())}
    return inputs | versions | {"device": run.device}
