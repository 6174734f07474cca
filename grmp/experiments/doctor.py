"""Can this machine run what params.yaml asks for? Ten lines, each "ok", "note" or "FAIL"."""

import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil

from grmp import params as settings
from grmp.data import databases
from grmp.device import cpus
from grmp.errors import UserError
from grmp.experiments.slurm import reachable
from grmp.locks import lock
from grmp.params import Params, PretrainedBackbone

Finding = tuple[str, str]  # ok, note or FAIL, and what was found
PYTHON = (3, 11)
MEMORY = 8 << 30  # bytes; the kept features (adapt.cache_gb) come on top
SECONDS = 10  # for an answer of the Hub


def examine(params_file: Path) -> Iterator[tuple[str, str, str]]:
    """(what, ok or note or FAIL, what was found), ten of them."""
    world = params_file.parent
    try:
        params: Params | None = settings.load(params_file)
        trouble = ""
    except UserError as error:
        params, trouble = None, str(error)
    yield (
        "settings",
        *(("FAIL", trouble) if params is None else ("ok", f"{params_file}: {len(params.run.run_keys())} runs")),
    )
    checks: dict[str, Callable[[], Finding]] = {"Python": _python, "packages": _packages, "GPU": lambda: _gpu(params)}
    checks["memory"] = lambda: _memory(params)
    needing: dict[str, Callable[[Params, Path], Finding]] = {
        "databases": _databases,
        "disk": _disk,
        "weights": _weights,
    }
    for name, check in checks.items():
        yield name, *check()
    for name, of_world in needing.items():
        yield name, *(of_world(params, world) if params else ("note", "not known without settings"))
    yield "locks", *_locks(world)
    yield "cluster", *_cluster()


def _python() -> Finding:
    good = sys.version_info[:2] >= PYTHON
    return "ok" if good else "FAIL", f"{platform.python_version()} on {platform.system()} {platform.machine()}" + (
        "" if good else f"; {PYTHON[0]}.{PYTHON[1]} or newer is needed"
    )


def _packages() -> Finding:
    """What is installed against what pyproject.toml pins."""
    pinned = [text.split("==") for text in requires("grmp") or [] if "==" in text and "extra" not in text]
    wrong = []
    for name, wanted in pinned:
        try:
            found = version(name)
        except PackageNotFoundError:
            found = "missing"
        if found.partition("+")[0] != wanted.strip():
            wrong.append(f"{name} {found}, not {wanted.strip()}")
    if wrong:
        return "FAIL" if any("missing" in w for w in wrong) else "note", "; ".join(wrong[:4])
    return "ok", f"all {len(pinned)} as pinned"


def _gpu(params: Params | None) -> Finding:
    import torch

    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if count:
        one = torch.cuda.get_device_properties(0)
        return "ok", f"{count} x {one.name}, {one.total_memory / 2**30:.0f} GiB; torch {torch.__version__}"
    demanded = params is not None and params.adapt.device.startswith("cuda")
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    slow = params is not None and isinstance(params.backbone, PretrainedBackbone)
    told = f"torch {torch.__version__} (built with {built}) sees none" + (
        "; a large backbone takes days" if slow else ""
    )
    return "FAIL" if demanded else "note", told


def _memory(params: Params | None) -> Finding:
    memory = psutil.virtual_memory()
    kept = params.adapt.cache_gb if params else 0.0  # "auto" takes what is free
    needed = MEMORY + (int(kept * 2**30) if isinstance(kept, float) else 0)
    told = f"{cpus()} CPUs, {memory.available / 2**30:.0f} of {memory.total / 2**30:.0f} GiB free"
    if memory.available < needed:
        return "note", f"{told}; {needed / 2**30:.0f} GiB are wanted: lower adapt.cache_gb"
    return "ok", told


def _databases(params: Params, world: Path) -> Finding:
    fetched = [d for d in params.data.databases if (world / f"data/raw/{d}.json").is_file()]
    prepared = [d for d in params.data.databases if (world / f"data/prepared/{d}/info.json").is_file()]
    unknown = [d for d in params.data.databases if d not in databases.known()]
    if unknown:
        return "FAIL", f"not known: {', '.join(unknown)}; see grmp data list"
    total = len(params.data.databases)
    return "ok" if len(prepared) == total else "note", f"{len(fetched)} of {total} fetched, {len(prepared)} prepared"


def _disk(params: Params, world: Path) -> Finding:
    """Free space against what is still to be downloaded, unpacked and prepared."""
    needed = 0
    for entry in (databases.known()[d] for d in params.data.databases if d in databases.known()):
        if not (world / f"data/raw/{entry.name}.json").is_file():
            needed += entry.download + entry.disk
        if not (world / f"data/prepared/{entry.name}/info.json").is_file():
            needed += entry.scores.count * 3 * params.data.size**2
    free = shutil.disk_usage(next(p for p in (world.resolve(), *world.resolve().parents) if p.exists())).free
    told = f"{free / 1e9:.0f} GB free at {world.resolve()}, {needed / 1e9:.1f} GB still needed"
    return ("ok", told) if free > needed else ("FAIL", f"{told}: free some space, or take fewer data.databases")


def _weights(params: Params, world: Path) -> Finding:
    path = world / "models/backbone.safetensors"
    if path.is_file():
        return "ok", f"{path} is there, {path.stat().st_size / 1e6:.0f} MB"
    if not isinstance(params.backbone, PretrainedBackbone):
        return "ok", "trained here by: dvc repro backbone"
    from huggingface_hub import HfApi

    from grmp.clip.pretrained import locate

    try:
        repository = locate(params.backbone)
        HfApi().model_info(repository, timeout=SECONDS)
    except UserError as error:
        return "FAIL", str(error)
    except Exception as error:  # the client raises many kinds; each means "not to be had"
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:80]
        return "FAIL", f"not here, and the Hub does not give them ({reason}); grmp backbone --from FILE"
    return "ok", f"not here yet; the Hub has {repository}"


def _locks(world: Path) -> Finding:
    """Tried in a folder of its own there, which is taken away again."""
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor.", dir=world) as place, lock(Path(place), "doctor"):
            return "ok", f"{world.resolve()} can be written and locked"
    except OSError as error:
        return "FAIL", f"cannot write in {world.resolve()}: {error.strerror}"
    except UserError as error:
        return "FAIL", str(error)


def _cluster() -> Finding:
    found = reachable()
    return ("ok", f"Slurm: {found}") if found else ("note", "no Slurm answers here; grmp sweep uses this machine")


def doctor(params_file: Path) -> bool:
    """Print the ten lines; False if one of them is FAIL."""
    well = True
    for what, state, found in examine(params_file):
        print(f"{state:<5}{what:<10} {' '.join(found.split())}", flush=True)
        well = well and state != "FAIL"
    return well
