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
    todo: list[ast.AST] = [ast.parse(source)]
    while todo:
        node = todo.pop()
        if isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from {name if name in sources() else str(node.module) for name in names} & sources().keys()
        elif isinstance(node, ast.Import):
            yield from {alias.name for alias in node.names} & sources().keys()
        elif not (isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"):
            todo += ast.iter_child_nodes(node)


@cache
def closure(*modules: str) -> tuple[str, ...]:
    """The modules themselves and all that they import, directly or not, sorted; those in WITHOUT_NUMBERS are left out."""
    seen, todo = set[str](), list(modules)
    while todo:
        module = todo.pop()
        without = f"{module}.".startswith(tuple(f"{name}." for name in WITHOUT_NUMBERS))
        if module in sources() and module not in seen and not without:
            seen.add(module)
            todo += imported(sources()[module])
    return tuple(sorted(seen))


def statements(source: bytes) -> bytes:
    """A source without blank lines, comments on lines of their own and the text of docstrings: none changes a number."""
    lines, strings, docstrings = source.splitlines(), set[int](), set[int]()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            text = node.body[0]
            lines[text.lineno - 1] = b" " * text.col_offset + b"..."
            docstrings.update(range(text.lineno, text.end_lineno or 0))
        elif isinstance(node, ast.Constant | ast.JoinedStr):  # its lines count, whatever they look like
            strings.update(range(node.lineno, node.end_lineno or 0))
    code = {i for i, line in enumerate(lines) if line.strip() and not line.lstrip().startswith(b"#")}
    return b"\n".join(lines[i] for i in sorted((code | strings) - docstrings))


@cache
def code_digest(*modules: str) -> str:
    """sha256 of the statements in the closure of ``modules``, as they were when this process first asked."""
    return sha256_of({m: hashlib.sha256(statements(sources()[m])).hexdigest() for m in closure(*modules)})
