"""``grmp doctor``: can this machine run what params.yaml asks for? One line per check: ok, note or FAIL."""

import json
import re
import shutil
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

import psutil

from grmp import params as settings
from grmp.data import databases
from grmp.data.decode import side
from grmp.device import cpus
from grmp.errors import UserError, one_line
from grmp.experiments.slurm import reachable
from grmp.locks import lock
from grmp.params import Params, PretrainedBackbone

Finding = tuple[str, str, str]  # what was checked; ok, note or FAIL; what was found
MEMORY = 8 << 30  # bytes that are recommended


def examine(params_file: Path) -> Iterator[Finding]:
    """The findings, one after another."""
    params: Params | None = None
    try:
        params = settings.load(params_file)
        yield "settings", "ok", f"{params_file}: {len(params.run.run_keys())} runs"
    except UserError as error:
        yield "settings", "FAIL", str(error)
    yield _packages()
    yield _gpu(params)
    memory = psutil.virtual_memory()
    free = f"{cpus()} CPU cores, {memory.available / 2**30:.0f} of {memory.total / 2**30:.0f} GiB free"
    yield "memory", "note" if memory.available < MEMORY else "ok", f"{free}, {MEMORY >> 30} GiB recommended"
    if params:
        yield from _databases(params, params_file.parent)
        yield _weights(params, params_file.parent)
    folder = params_file.parent.resolve()
    try:
        with tempfile.TemporaryDirectory(prefix=".doctor.", dir=folder) as place, lock(Path(place), "doctor"):
            yield "locks", "ok", f"{folder} can be written and locked"
    except (OSError, UserError) as error:
        yield "locks", "FAIL", f"{folder} cannot be written and locked: {one_line(error)}"
    found = reachable()
    yield "cluster", "ok" if found else "note", f"Slurm: {found}" if found else "no Slurm; grmp sweep uses this machine"


def _packages() -> Finding:
    """Installed versions compared with those pinned in pyproject.toml."""
    wrong = []
    pinned = (re.fullmatch(r"([^=]+)==([^;]+)(; extra == .pipeline.)?", line) for line in requires("grmp") or [])
    for name, wanted in (found.groups()[:2] for found in pinned if found):
        try:
            found = version(name).partition("+")[0]
        except PackageNotFoundError:
            return "packages", "FAIL", f"{name} is missing; install {name}=={wanted}"
        if found != wanted.strip():
            wrong.append(f"{name} {found}, not {wanted.strip()}")
    return "packages", "note" if wrong else "ok", "; ".join(wrong[:4]) or "all as pinned"


def _gpu(params: Params | None) -> Finding:
    import torch

    if torch.cuda.is_available():
        one = torch.cuda.get_device_properties(0)
        return "GPU", "ok", f"{torch.cuda.device_count()} x {one.name}, {one.total_memory / 2**30:.0f} GiB"
    required = params is not None and params.adapt.device.startswith("cuda")
    slow = "; a large backbone takes days" if params and isinstance(params.backbone, PretrainedBackbone) else ""
    built = f"CUDA {torch.version.cuda}" if torch.version.cuda else "no CUDA"
    return "GPU", "FAIL" if required else "note", f"torch {torch.__version__} (built with {built}) finds none{slow}"


def _databases(params: Params, root: Path) -> Iterator[Finding]:
    """Which databases are ready, and whether the disk has space for the others."""
    names = params.data.databases
    if unknown := [d for d in names if d not in databases.known()]:
        yield "databases", "FAIL", f"unknown: {', '.join(unknown)}; see grmp data list"
    fetched = [d for d in names if (root / f"data/raw/{d}.json").is_file()]
    prepared = [d for d in names if (root / f"data/prepared/{d}/info.json").is_file()]
    state = "ok" if len(prepared) == len(names) else "note"
    yield "databases", state, f"{len(fetched)} of {len(names)} fetched, {len(prepared)} prepared"
    entries = [databases.known()[d] for d in names if d in databases.known()]
    needed = sum(e.download + e.disk for e in entries if e.name not in fetched)
    sides = {e.name: [side(view, params.data.size) for view in params.views(e.name)] for e in entries}
    needed += sum(e.scores.count * 3 * s**2 for e in entries if e.name not in prepared for s in sides[e.name])
    free = shutil.disk_usage(root.resolve()).free
    yield "disk", "ok" if free > needed else "FAIL", f"{free / 1e9:.0f} GB free, {needed / 1e9:.1f} GB still needed"


def _weights(params: Params, root: Path) -> Finding:
    path = root / "models/backbone.safetensors"
    if path.is_file():
        return "weights", "ok", f"{path}, {path.stat().st_size / 1e6:.0f} MB"
    if not isinstance(params.backbone, PretrainedBackbone):
        return "weights", "ok", "created by: dvc repro backbone"
    from huggingface_hub import HfApi

    from grmp.clip.pretrained import locate

    try:
        HfApi().model_info(locate(params.backbone), timeout=10)
    except Exception as error:  # the client raises many types; each means that the weights are not available
        return "weights", "FAIL", f"not here and not on the Hub ({one_line(error, 80)}); use grmp backbone --from FILE"
    return "weights", "ok", "not here yet; available on the Hub"


def doctor(params_file: Path, as_json: bool) -> bool:
    """Print the findings, one a line; False if one of them is FAIL."""
    well = True
    for what, state, found in examine(params_file):
        row = {"state": state, "check": what, "found": " ".join(found.split())}
        print(json.dumps(row) if as_json else "{state:<5}{check:<10} {found}".format(**row), flush=True)
        well = well and state != "FAIL"
    return well
