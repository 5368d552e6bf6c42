"""A digest of the code that a script runs: its syntax tree and that of every module it imports.

Comments, formatting and docstrings do not count, nor does the version of Python, nor do modules of
other projects or those of the frame, which write logs, provenance and the live page or divide a
machine's processors, and no result. Standard library only: the Snakefile asks for it at every
start.
"""

import ast
import contextlib
import hashlib
import json
import os
import re
import sys
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PACKAGE = "archloop"
# Modules by path, so that one of the same name in another folder counts.
FRAME = (
    "archloop/allocation.py",
    "archloop/logs.py",
    "archloop/monitoring/live_page.py",
    "archloop/progress.py",
    "archloop/workflow/provenance.py",
)
# Beside the compiled modules: what is found in a module, by the digest of its bytes. Parsing all of
# them again takes a second of every start of Snakemake, on every node.
KNOWN = Path("__pycache__", "code_digests.json")
MOST_KNOWN = 5_000
# Fields of a syntax tree that say nothing of what code does.
UNCOUNTED = ("kind", "type_comment", "type_ignores")


@dataclass(frozen=True)
class Module:
    """What counts of a module: the digest of its syntax tree, and the names that it may import."""

    digest: str
    names: list[str]


def code_digest(script: str | Path, root: Path | None = None) -> str:
    """Return 16 hexadecimal digits that change exactly when code that `script` can reach changes.

    The package is looked for in `root`, by default the folder of the script.
    """
    script = Path(script)
    root = root or script.parent
    parsed = _parsed_before(root)

    parts = []
    for path in reached(script, root):
        module = _module(path, root, path.stat().st_mtime_ns)
        name = path.relative_to(root)
        parts.append(f"{name} {module.digest}")
    parsed.save()
    return _sha256("\n".join(sorted(parts)))[:16]


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def reached(script: Path, root: Path | None = None) -> set[Path]:
    """Return the script, every module of the package that it imports, what those import, and on.

    An import in a function counts. Modules of the frame are left out, and what they alone import.
    """
    root = root or script.parent
    paths: set[Path] = set()
    todo = [script]
    while todo:
        path = todo.pop()
        if path not in paths:
            paths.add(path)
            todo += _imports(path, root, path.stat().st_mtime_ns)
    return paths


# A file that has changed meanwhile has another time, and is read again.
@cache
def _imports(path: Path, root: Path, mtime: int) -> list[Path]:
    """Return the modules that one imports in any form, and the packages on the way to them."""
    imported: set[Path] = set()
    for name in _module(path, root, mtime).names:
        parts = name.split(".")
        imported.add(root.joinpath(*parts).with_suffix(".py"))
        # Python runs the __init__.py of every package on the way.
        for depth in range(1, len(parts) + 1):
            imported.add(root.joinpath(*parts[:depth], "__init__.py"))

    modules = []
    for module in sorted(imported):
        within = module.relative_to(root).as_posix()
        if module.is_file() and within not in FRAME:
            modules.append(module)
    return modules


@cache
def _module(path: Path, root: Path, _mtime: int) -> Module:
    source = path.read_bytes()  # as Python reads it: with or without a byte order mark
    package = path.relative_to(root).parent.parts
    parsed = _parsed_before(root)

    key = parsed.key(source, package)
    module = parsed.modules.get(key)
    if module is None:
        module = _parsed(ast.parse(source, filename=str(path)), package)
        parsed.modules[key] = module
        parsed.added = True
    return module


def _parsed(tree: ast.Module, package: tuple[str, ...]) -> Module:
    names = set()
    for node in ast.walk(tree):
        names.update(_imported_names(node, package))
    ours = [name for name in names if name.partition(".")[0] == PACKAGE]
    digest = _sha256(repr(_canonical(tree)))
    return Module(digest, sorted(ours))


@dataclass
class ParsedModules:
    """The modules that were parsed before, in this process or another.

    What cannot be read or written is parsed again.
    """

    file: Path
    modules: dict[str, Module] = field(default_factory=dict)
    added: bool = False

    def key(self, source: bytes, package: tuple[str, ...]) -> str:
        """Return what a module's entry depends on: its bytes, where it lies, who reads it."""
        digest = hashlib.sha256(_reader())
        digest.update(repr(package).encode())
        digest.update(source)
        return digest.hexdigest()

    def load(self) -> None:
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError):
            for key, entry in json.loads(self.file.read_bytes()).items():
                self.modules[key] = Module(**entry)

    def save(self) -> None:
        if not self.added:
            return
        self.added = False
        latest = list(self.modules.items())[-MOST_KNOWN:]
        text = json.dumps({key: vars(module) for key, module in latest})
        # Several processes may save at once: each writes a file of its own, the last one stays.
        own_name = f".{self.file.name}.{os.getpid()}"
        temporary = self.file.with_name(own_name)
        with contextlib.suppress(OSError):
            self.file.parent.mkdir(exist_ok=True)
            temporary.write_text(text)
            temporary.replace(self.file)


@cache
def _parsed_before(root: Path) -> ParsedModules:
    parsed = ParsedModules(root / KNOWN)
    parsed.load()
    return parsed


@cache
def _reader() -> bytes:
    """Return what another version of this module, or of Python, has another of."""
    return repr(sys.version_info).encode() + Path(__file__).read_bytes()


def _imported_names(node: ast.AST, package: tuple[str, ...]) -> list[str]:
    """Return the dotted names that a statement imports, or may.

    What `from` takes can be a module or a part of one. A text that is code and begins with an
    import, or a module's name, is for a process of its own, and counts. package: the folders, from
    the root, of the module that the statement stands in, where a relative import starts.
    """
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and PACKAGE in node.value:
        return _names_in_text(node.value)
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if not isinstance(node, ast.ImportFrom):
        return []
    parts: list[str] = []
    if node.level:  # relative: from the folder itself, or one above it for each dot more
        parts += package[: len(package) - node.level + 1]
    if node.module:
        parts.append(node.module)

    module = ".".join(parts)
    return [module, *(f"{module}.{alias.name}" for alias in node.names)]


def _names_in_text(text: str) -> list[str]:
    """Return the names that a text imports where it is code, or the module that it names."""
    if re.fullmatch(rf"{PACKAGE}(\.\w+)+", text):
        return [text]
    if not text.startswith((f"from {PACKAGE}", f"import {PACKAGE}")):
        return []

    try:
        tree = ast.parse(text)
    except SyntaxError:
        return []
    names = []
    for node in ast.walk(tree):
        names += _imported_names(node, ())
    return names


def _canonical(node: object) -> object:
    """Return a syntax tree as nested tuples: no positions, no docstrings, no empty fields.

    Which fields there are differs by version of Python.
    """
    if isinstance(node, list):
        return [_canonical(item) for item in node]
    if not isinstance(node, ast.AST):
        return node

    fields = []
    for name, value in ast.iter_fields(node):
        if name == "body" and _has_docstring(node):
            value = value[1:]
        if value is None or value == [] or name in UNCOUNTED:
            continue
        fields.append((name, _canonical(value)))
    return (type(node).__name__, fields)


def _has_docstring(node: ast.AST) -> bool:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return isinstance(node, kinds) and ast.get_docstring(node, clean=False) is not None
