"""The identity of a run: the sha256 of its settings and of all it reads (images, splits, backbone, prompts, code).

A record whose identity is unchanged is not computed again. Finished splits of an unfinished run are kept below its identity.
"""

from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from grmp.code import code_digest
from grmp.errors import UserError
from grmp.files import read_json, sha256, sha256_of
from grmp.params import STARTS, Distill, Panel, Params, RunKey

SCHEMA = 3


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
    """The identity of a run as settings, files and code are now.

    Raises
    ------
    UserError
        If a file it reads is missing.
    """
    return RunIdentity(parameters(params, key), inputs(params, root, key))


def run_settings(params: Params, key: RunKey) -> Params:
    """The settings of one run: those of its protocol, with the values that its method sets."""
    return params.under(key.protocol).for_method(key.method)


def parameters(params: Params, key: RunKey) -> dict[str, Any]:
    """The settings that the run depends on."""
    params = run_settings(params, key)
    method = params.methods[key.method]
    used = {
        "method": method.model_dump(exclude={"label", "set"}),
        "splits": params.splits.count,
        "shots": key.shots,
        "normalize": params.backbone.normalize,
    }
    if isinstance(method, Panel | Distill):
        used["seed"] = params.adapt.seed
    if isinstance(method, Distill):
        used["teacher"] = params.methods[method.teacher].model_dump(exclude={"label", "set"})
    if params.adapting(key.method):
        used |= {
            "adapt": params.adapt.model_dump(exclude={"device", "cache_gb", "splits_at_once"}),
            "prompts": params.prompts.model_dump(),
        }
    return used


def split_file(root: Path, database: str, protocol: str) -> Path:
    """The splits of a database under a protocol."""
    return root / "data/splits" / database / f"{protocol}.csv"


def inputs(params: Params, root: Path, key: RunKey) -> dict[str, str]:
    """sha256 of every file that the run reads.

    Raises
    ------
    UserError
        If one is missing; the message names the stage that makes it.
    """
    files = {"backbone": (root / "models/backbone.safetensors", "backbone")}
    infos = {}
    for end in dict.fromkeys((key.source, key.target)):
        name = "" if end == key.source else ".target"
        files[f"splits{name}"] = (split_file(root, end, key.protocol), f"prepare@{end}")
        infos[f"database{name}"] = (root / "data/prepared" / end / "info.json", f"prepare@{end}")
    if start := learned_start(params.under(key.protocol), key.method):
        files["prompts"] = (root / f"models/prompts/{start}.safetensors", f"pretrain@{start}")
    for path, stage in [*infos.values(), *files.values()]:
        if not path.is_file():
            raise UserError(f"{path} not found; create it with: dvc repro {stage}")
    found = {name: _digest(path) for name, (path, _) in files.items()}
    for name, (path, _) in infos.items():
        try:
            found[name] = sha256_of(read_json(path)["sha256"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path} is corrupt; recreate it with: dvc repro -f prepare@{path.parent.name}") from None
    return found | {"code": code(params.methods[key.method].kind)}


def learned_start(params: Params, method: str) -> str:
    """The variant whose prompts the method, or its teacher, starts from under the protocol of ``params``, or ""."""
    adapting = params.adapting(method)
    start = params.start_of(adapting) if adapting else ""
    return "" if start in STARTS else start


def code(kind: str) -> str:
    """sha256 of the code that computes the numbers of this kind of method, as it was when this process first asked.

    That is before the code is imported, so an edit during a run does not relabel numbers of the old code.
    """
    return code_digest("grmp.methods.registry")


def _digest(path: Path) -> str:
    """sha256 of a file, computed once until the file is written again: many runs read the same backbone."""
    state = path.stat()
    return _digest_of(path, state.st_mtime_ns, state.st_size, state.st_ino)


@cache
def _digest_of(path: Path, *_: int) -> str:
    return sha256(path)
