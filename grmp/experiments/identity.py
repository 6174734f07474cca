"""The identity of a run: the sha256 of its settings and of all it reads (images, splits, backbone, prompts, code).

A record whose identity is unchanged is not computed again. Finished splits of an unfinished run are kept below its identity.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from grmp.code import code_digest
from grmp.device import tf32
from grmp.errors import UserError, reading
from grmp.files import read_json, sha256, sha256_of
from grmp.params import Params, RunKey

SCHEMA = 3
NOT_NUMBERS = {"device", "cache_gb", "splits_at_once"}  # keys of adapt that change no number


@dataclass(frozen=True)
class RunIdentity:
    """What determines the numbers of a run."""

    parameters: dict[str, Any]
    inputs: dict[str, str]  # sha256 by name

    @cached_property
    def digest(self) -> str:
        """The identity as it is written to ``run.json``."""
        return sha256_of({"schema": SCHEMA, "parameters": self.parameters, "inputs": self.inputs})


def identify(params: Params, root: Path, key: RunKey) -> RunIdentity:
    """The identity of a run as settings, files and code are now. Raises UserError if a file it reads is missing."""
    return RunIdentity(parameters(params, key), inputs(params, root, key))


def parameters(params: Params, key: RunKey) -> dict[str, Any]:
    """The settings that the run depends on."""
    params = params.for_run(key)
    method = params.methods[key.method]
    used: dict[str, Any] = {
        "method": method.model_dump(exclude={"label", "set"}),
        "splits": params.splits.count,
        "shots": key.shots,
        "normalize": params.backbone.normalize,
    }
    if method.learns_from:
        used["teacher"] = params.methods[method.learns_from].model_dump(exclude={"label", "set"})
    for name in method.reads:
        group, _, field = name.partition(".")
        values = getattr(params, group).model_dump(exclude=NOT_NUMBERS)
        used |= {field: values[field]} if field else {group: values}
    return used | ({"tf32": True} if tf32() else {})


def inputs(params: Params, root: Path, key: RunKey) -> dict[str, str]:
    """sha256 of every file that the run reads. Raises UserError, which names the command that makes it, if one is missing."""
    found = {"code": code(params.methods[key.method].kind)} | data(params, root, key)
    found["backbone"] = _known(root / "models/backbone.safetensors", "grmp backbone")
    if start := params.under(key.protocol).learned_start(key.method):
        found["prompts"] = _known(root / f"models/prompts/{start}.safetensors", f"grmp pretrain {start}")
    return found


def data(params: Params, root: Path, key: RunKey) -> dict[str, str]:
    """sha256 of the databases and splits that a run reads, which runs must share to be compared. UserError as ``inputs``."""
    found = {}
    for end in dict.fromkeys((key.source, key.target)):
        name, command = "" if end == key.source else ".target", f"grmp data fetch {end} && grmp data prepare {end}"
        # a database is known by its images, resized in one way
        view = params.under(key.protocol).data.resize
        found[f"database{name}"] = _known(root / "data/prepared" / end / "info.json", command, view)
        found[f"splits{name}"] = _known(root / "data/splits" / end / f"{key.protocol}.csv", command)
    return found


def _known(path: Path, command: str, view: str = "") -> str:
    """sha256 of a file, or of a ``view`` of the database that it describes."""
    if not path.is_file():
        raise UserError(f"{path} not found; create it with: {command}")
    with reading(path, f"recreate it with: {command}"):
        if not view:
            return _digest(path, path.stat().st_mtime_ns)
        views = read_json(path)["views"]
        if view not in views:
            raise UserError(
                f"{path.parent} has no images resized by {view}, as this protocol needs; name the database in a grid of "
                f"run in params.yaml, then: {command}"
            )
        return str(views[view])


def code(kind: str) -> str:
    """sha256 of the import closure of a kind of method, and of how labels are picked (through grmp/methods/context.py).

    It is read before the code is imported, so an edit during a run does not relabel numbers of the old code.
    """
    return code_digest(f"grmp.methods.{kind}", "grmp.methods.context")


@cache
def _digest(path: Path, written: int) -> str:
    """sha256 of a file, computed once until it is ``written`` again: many runs read the same backbone."""
    return sha256(path)
