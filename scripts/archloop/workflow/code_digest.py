"""A digest of the code that a script runs: its own syntax tree and that of every module of this project it imports.

Comments, formatting and docstrings do not count, nor does the version of Python, nor do the modules of the frame, which
write logs, provenance and the live page or divide a machine's processors, and no result. Standard library only: the
Snakefile asks for it at every start.
"""

import ast
import hashlib
import re
from functools import cache
from pathlib import Path

PACKAGE = "archloop"
# Modules by path, so that one of the same name in another folder counts.
FRAME = (
    "archloop/allocation.py",
    "archloop/errors.py",
    "archloop/monitoring/live_page.py",
    "archloop/progress.py",
    "archloop/workflow/provenance.py",
)


def code_digest(script: str | Path, root: Path | None = None) -> str:
    """Return 16 hexadecimal digits that change when, and only when, code that `script` can reach changes.

    The package is looked for in `root`, by default the folder of the script.
    """
    script = Path(script)
    root = root or script.parent
    parts = [
        f"{path.relative_to(root)} {_tree_digest(path, path.stat().st_mtime_ns)}"
        for path in reached(script, root)
    ]
    return hashlib.sha256("\n".join(sorted(parts)).encode()).hexdigest()[:16]


def reached(script: Path, root: Path | None = None) -> set[Path]:
    """Return the script and every module of the package that is imported anywhere in it, in a function too, and so on.

    Modules of the frame are left out, and what they alone import.
    """
    found, todo = set(), [script]
    while todo:
        path = todo.pop()
        if path not in found:
            found.add(path)
            todo += _imports(path, root or script.parent, path.stat().st_mtime_ns)
    return found


@cache
def _parse(path: Path, _mtime: int) -> ast.Module:
    return ast.parse(
        path.read_bytes(), filename=str(path)
    )  # as Python reads it: with or without a byte order mark


@cache
def _tree_digest(path: Path, mtime: int) -> str:
    return hashlib.sha256(repr(_canonical(_parse(path, mtime))).encode()).hexdigest()


@cache
def _imports(path: Path, root: Path, mtime: int) -> list[Path]:
    """Return the modules that one imports in any form, and every package that Python runs on the way to them."""
    package = path.relative_to(root).parent.parts
    found: set[Path] = set()
    for node in ast.walk(_parse(path, mtime)):
        for name in _imported_names(node, package):
            parts = name.split(".")
            if parts[0] != PACKAGE:
                continue
            found.add(root.joinpath(*parts).with_suffix(".py"))
            found.update(
                root.joinpath(*parts[:depth], "__init__.py") for depth in range(1, len(parts) + 1)
            )
    return sorted(
        each for each in found if each.is_file() and each.relative_to(root).as_posix() not in FRAME
    )


def _imported_names(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    """Return the dotted names that a statement imports, or may: what `from` takes can be a module or a part of one.

    package: the folders, from the root, of the module that the statement stands in, where a relative import starts. A
    text that is code and begins with an import, or a module's name, is for a process of its own, and counts.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and PACKAGE in node.value:
        return _names_in_text(node.value)
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    start = package[: len(package) - node.level + 1] if node.level else ()
    module = ".".join([*start, *([node.module] if node.module else [])])
    return [module, *(f"{module}.{alias.name}" for alias in node.names)]


def _names_in_text(text: str) -> list[str]:
    if re.fullmatch(rf"{PACKAGE}(\.\w+)+", text):
        return [text]
    if not text.startswith((f"from {PACKAGE}", f"import {PACKAGE}")):
        return []
    try:
        found = ast.walk(ast.parse(text))
    except SyntaxError:
        return []
    return [name for node in found for name in _imported_names(node, ())]


def _canonical(node: object) -> object:
    """Return a syntax tree as nested tuples: no positions, no docstrings, no empty fields (they differ by version)."""
    if isinstance(node, list):
        return [_canonical(item) for item in node]
    if not isinstance(node, ast.AST):
        return node
    fields = []
    for name, value in ast.iter_fields(node):
        if name == "body" and _has_docstring(node):
            value = value[1:]
        if (
            value is not None
            and value != []
            and name not in ("kind", "type_comment", "type_ignores")
        ):
            fields.append((name, _canonical(value)))
    return (type(node).__name__, fields)


def _has_docstring(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None
