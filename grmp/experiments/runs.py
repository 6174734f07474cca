"""Run records: what one (protocol, database, method, shots) gave, whole or not at all, and known by all that went in.

The identity of a run is the sha256 of its settings and of its inputs' bytes (pictures, splits, backbone, prompts, code). A
record whose identity still holds is not computed again; splits that were done before an interruption are kept in
``results/partial/<identity>/`` and taken up again. Layout: docs/design.md.
"""

import contextlib
import platform
import shutil
from functools import cache
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import BaseModel, ConfigDict, model_validator

from grmp.code import code_digest
from grmp.errors import UserError
from grmp.files import read_json, sha256, sha256_of, whole_folder, write_json
from grmp.params import STARTS, Distill, Panel, Params, RunKey

if TYPE_CHECKING:
    from grmp.finetune.types import SplitResult

SCHEMA = 3
PACKAGES = ("grmp", "torch", "numpy", "scipy", "open_clip_torch")
PREDICTIONS = ["split", "image", "quality", "score"]
TABLES = ("predictions.csv", "history.csv")
HISTORY = ["split", "epoch", "learning_rate", "task_loss", "semantic_loss", "angle_deg"]


class Predicted(BaseModel):
    """One row a test picture."""

    model_config = ConfigDict(extra="forbid", strict=True)

    image: list[str]
    quality: list[float]
    score: list[float]

    @model_validator(mode="after")
    def _lengths(self) -> "Predicted":
        if not len(self.image) == len(self.quality) == len(self.score):
            raise ValueError("columns of different lengths")
        return self


class Finished(BaseModel):
    """What one split gave."""

    model_config = ConfigDict(extra="forbid", strict=True)

    predictions: Predicted
    history: list[dict[str, int | float]]
    trained_values: int
    seconds: float
    peak_bytes: int | None = None  # of the process or the GPU up to then
    status: str


def settled(params: Params, key: RunKey) -> Params:
    """The settings of this very run: under its protocol, with its method's own values."""
    return params.under(key.protocol).for_method(key.method)


def parameters(params: Params, key: RunKey) -> dict[str, Any]:
    """The settings that the run depends on."""
    params = settled(params, key)
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


def split_file(world: Path, database: str, protocol: str) -> Path:
    """Where the splits of a database under a protocol lie."""
    return world / "data/splits" / database / f"{protocol}.csv"


def inputs(params: Params, world: Path, key: RunKey) -> dict[str, str]:
    """sha256 of every file that the run reads.

    Raises
    ------
    UserError
        If one is missing; the message names the stage that makes it.
    """
    files = {"backbone": (world / "models/backbone.safetensors", "backbone")}
    infos = {}
    for end in dict.fromkeys((key.source, key.target)):
        name = "" if end == key.source else ".target"
        files[f"splits{name}"] = (split_file(world, end, key.protocol), f"prepare@{end}")
        infos[f"database{name}"] = (world / "data/prepared" / end / "info.json", f"prepare@{end}")
    if start := learned_start(params.under(key.protocol), key.method):
        files["prompts"] = (world / f"models/prompts/{start}.safetensors", f"pretrain@{start}")
    for path, stage in [*infos.values(), *files.values()]:
        if not path.is_file():
            raise UserError(f"{path} not found; make it with: dvc repro {stage}")
    found = {name: _digest(path) for name, (path, _) in files.items()}
    for name, (path, _) in infos.items():
        try:
            found[name] = sha256_of(read_json(path)["sha256"])
        except (ValueError, KeyError, TypeError):
            raise UserError(f"{path} is damaged; make it again with: dvc repro -f prepare@{path.parent.name}") from None
    return found | {"code": code(params.methods[key.method].kind)}


def learned_start(params: Params, method: str) -> str:
    """The variant whose prompts the method, or its teacher, starts from under the protocol of ``params``; "" without one."""
    adapting = params.adapting(method)
    start = params.start_of(adapting) if adapting else ""
    return "" if start in STARTS else start


def code(kind: str) -> str:
    """sha256 of what computes the numbers of this kind of method, as it was when this process first asked.

    That is before it imports that code: a file that is edited meanwhile does not put its name to another one's numbers.
    """
    return code_digest("grmp.methods.registry")


def _digest(path: Path) -> str:
    """sha256 of a file, computed once as long as it is not written: many runs read the same backbone."""
    state = path.stat()
    return _digest_of(path, state.st_mtime_ns, state.st_size, state.st_ino)


@cache
def _digest_of(path: Path, *_: int) -> str:
    return sha256(path)


def identity(params: Params, world: Path, key: RunKey) -> str:
    """What the run is known by."""
    return sha256_of({"schema": SCHEMA, "parameters": parameters(params, key), "inputs": inputs(params, world, key)})


def is_done(params: Params, world: Path, key: RunKey, failed: bool = False) -> bool:
    """True if the record of this very run exists, whole, and no split of it failed (or even then: ``failed``)."""
    folder = key.folder(world)
    try:
        run = read_json(folder / "run.json")
        same = run["identity"] == identity(params, world, key) and (failed or set(run["status"]) == {"ok"})
        return bool(same and run["files"] == {name: sha256(folder / name) for name in TABLES})
    except (OSError, ValueError, KeyError, TypeError):
        return False


def partial(world: Path, identity_: str) -> Path:
    """Folder of the finished splits of an unfinished run."""
    return world / "results/partial" / identity_


def finished(
    rows: pd.DataFrame, outcome: "SplitResult", seconds: float, peak_bytes: int | None, status: str = "ok"
) -> dict[str, Any]:
    """What a split gave on its test pictures, which are ``rows`` of the index; as ``Finished`` has it."""
    return {
        "predictions": {
            "image": rows["image"].tolist(),
            "quality": rows["quality"].tolist(),
            "score": [float(s) for s in outcome.scores],
        },
        "history": outcome.history,
        "trained_values": outcome.trained_values,
        "seconds": seconds,
        "peak_bytes": peak_bytes,
        "status": status,
    }


def write_split(folder: Path, split: int, result: dict[str, Any]) -> None:
    """Keep one finished split."""
    write_json(folder / f"{split}.json", result)


def read_split(folder: Path, split: int) -> dict[str, Any] | None:
    """A finished split, or None: what is damaged is computed again."""
    try:
        return Finished.model_validate(read_json(folder / f"{split}.json")).model_dump()
    except (OSError, ValueError):
        return None


def write(params: Params, world: Path, key: RunKey, results: list[dict[str, Any]], device: str, ident: str) -> None:
    """Put the splits together into the record of identity ``ident``, then forget the partial ones that are good.

    Raises
    ------
    UserError
        If what the run reads has changed while it was computed.
    """
    if ident != identity(params, world, key):
        raise UserError(f"{key}: what it reads was changed while it was computed; run it again")
    predictions = pd.concat([pd.DataFrame(r["predictions"]).assign(split=i) for i, r in enumerate(results)])
    history = pd.concat([pd.DataFrame(r["history"]).assign(split=i) for i, r in enumerate(results)])
    run = {
        "schema": SCHEMA,
        "protocol": key.protocol,
        "database": key.database,
        "method": key.method,
        "shots": key.shots,
        "splits": len(results),
        "status": [r["status"] for r in results],
        "parameters": parameters(params, key),
        "inputs": inputs(params, world, key),
        "identity": ident,
        "versions": {"python": platform.python_version()} | {name: version(name) for name in PACKAGES},
        "device": device,
        "threads": params.adapt.threads,
        "seconds": [r["seconds"] for r in results],
        "peak_bytes": max((b for r in results if (b := r["peak_bytes"])), default=None),
        "trained_values": max(r["trained_values"] for r in results),
    }
    with whole_folder(key.folder(world)) as folder:
        predictions.reindex(columns=PREDICTIONS).to_csv(folder / "predictions.csv", index=False)
        history.reindex(columns=HISTORY).to_csv(folder / "history.csv", index=False)
        write_json(folder / "run.json", run | {"files": {name: sha256(folder / name) for name in TABLES}})
    failed = [i for i, r in enumerate(results) if r["status"] != "ok"]
    for split in failed:  # only these are tried again
        (partial(world, ident) / f"{split}.json").unlink(missing_ok=True)
    if not failed:
        shutil.rmtree(partial(world, ident), ignore_errors=True)
    with contextlib.suppress(OSError):  # others may still be at work in there
        partial(world, ident).parent.rmdir()
