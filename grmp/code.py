"""The import closure of a module: the source files that a number depends on."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from grmp.files import sha256, sha256_of

ROOT = Path(__file__).parent.parent
# An identity contains the values of the settings; the other modules compute nothing. Editing them invalidates no result.
WITHOUT_NUMBERS = ("grmp.params", "grmp.errors", "grmp.files", "grmp.locks", "grmp.pool", "grmp.code")


def path_of(module: str) -> Path | None:
    """The source file of a dotted module name of this project; None if there is none."""
    base = ROOT.joinpath(*module.split("."))
    return next((p for p in (base.with_suffix(".py"), base / "__init__.py") if p.is_file()), None)


def imported(path: Path) -> Iterator[str]:
    """Modules of this project that a file imports anywhere, imports for the type checker alone aside."""

    def walk(node: ast.AST) -> Iterator[ast.AST]:
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            return
        yield node
        for child in ast.iter_child_nodes(node):
            yield from walk(child)

    for node in walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "grmp":
            submodules = [f"{node.module}.{a.name}" for a in node.names]
            found = [m for m in submodules if path_of(m)]
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
        path = path_of(module)
        if module in seen or path is None or any(f"{module}.".startswith(f"{w}.") for w in WITHOUT_NUMBERS):
            continue
        seen.add(module)
        todo += imported(path)
    return tuple(sorted(seen))


@cache
def code_digest(*modules: str) -> str:
    """sha256 of the source of the closure of ``modules``, as it was when this process first asked."""
    return sha256_of({m: sha256(path) for m in closure(*modules) if (path := path_of(m))})
