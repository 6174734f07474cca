"""`python -m tests.golden FILE.npz`: largest difference per array; exit code 1 above 1e-4."""

import sys
from pathlib import Path

TOLERANCE = 1e-4


def main(arguments: list[str]) -> int:
    if len(arguments) != 1 or not Path(arguments[0]).is_file():
        print("usage: python -m tests.golden FILE.npz (an existing file)", file=sys.stderr)
        return 1
    from tests.golden.check import differences

    found = differences(Path(arguments[0]))
    for name, largest in found.items():
        print(f"{name:40s} {largest:.2e}{'' if largest <= TOLERANCE else '   above 1e-4'}")
    return int(max(found.values()) > TOLERANCE)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
