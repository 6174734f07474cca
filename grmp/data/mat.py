"""Score files of MATLAB, read in a process of their own: scipy's reader can crash, or ask for any memory, on a damaged one.

    python -m grmp.data.mat FILE KEY...

prints the variables as JSON: numbers, or the first text of each cell.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

SECONDS = 120  # a few thousand scores need one
MEMORY = 4 << 30  # bytes that reading may ask for


def read(path: Path, *keys: str) -> list[np.ndarray]:
    """The variables ``keys`` of a .mat file, each flat: (N,) float64, or (N,) str for a cell array.

    Raises
    ------
    ValueError
        If the file is damaged, or lacks one of them.
    """
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parents[2]), *sys.path])}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "grmp.data.mat", str(path), *keys],
            env=environment,
            capture_output=True,
            timeout=SECONDS,
            check=False,
        )
        found: list[list[Any]] = json.loads(done.stdout) if done.returncode == 0 else []
    except (subprocess.TimeoutExpired, ValueError):
        found = []
    if len(found) != len(keys):
        raise ValueError(f"{path.name} is damaged, or has no {' and '.join(keys)}")
    return [np.array(values, dtype=str if values and isinstance(values[0], str) else np.float64) for values in found]


def _flat(value: np.ndarray) -> list[Any]:
    if value.dtype == object:
        return [str(np.asarray(cell).ravel()[0]) for cell in value.ravel()]
    return value.astype(np.float64).ravel().tolist()


def _main(path: str, *keys: str) -> None:
    from scipy.io import loadmat

    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    except (ImportError, ValueError):  # no such limit on this system, or a tighter one already
        pass
    content = loadmat(path, variable_names=keys)
    print(json.dumps([_flat(content[key]) for key in keys]))


if __name__ == "__main__":
    _main(*sys.argv[1:])
