"""The import closure of a module: the source files that a number depends on."""

import ast
import hashlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from grmp.files import sha256_of

ROOT = Path(__file__).parent.parent
# An identity contains the values of the settings; the other modules compute nothing. Editing them invalidates no result.
WITHOUT_NUMBERS = ("grmp.params", "grmp.errors", "grmp.files", "grmp.locks", "grmp.pool", "grmp.code")


@cache
def sources() -> dict[str, bytes]:
    """The source of every module of this project by its dotted name, as it was when this process first asked."""
    paths = sorted((ROOT / "grmp").rglob("*.py"))
    return {
        ".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p.read_bytes() for p in paths
    }


def imported(source: bytes) -> Iterator[str]:
    """Modules of this project that a source imports anywhere, imports for the type checker alone aside."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        yield node
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    for node in walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "grmp":
            submodules = [f"{node.module}.{a.name}" for a in node.names]
            found = [m for m in submodules if m in sources()]
            yield from found
            if len(found) < len(submodules):
                yield str(node.module)
        elif isinstance(node, ast.Import):
            yield from (a.name for a in node.names if a.name.split(".")[0] == "grmp")


@cache
def closure(*modules: str) -> tuple[str, ...]:
    """The modules themselves and all that they import, directly or not, sorted; those in WITHOUT_NUMBERS are left out."""
    seen: set[str] = set()
    todo = list(modules)
    while todo:
        module = todo.pop()
        without = any(f"{module}.".startswith(f"{w}.") for w in WITHOUT_NUMBERS)
        if module in seen or module not in sources() or without:
            continue
        seen.add(module)
        todo += imported(sources()[module])
    return tuple(sorted(seen))


@cache
def code_digest(*modules: str) -> str:
    """sha256 of the source of the closure of ``modules``, as it was when this process first asked."""
    return sha256_of({m: hashlib.sha256(sources()[m]).hexdigest() for m in closure(*modules)})
