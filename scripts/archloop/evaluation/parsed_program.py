"""A program taken apart: its nodes with their scopes, its imports, and what of a library an
expression may be.
"""

import ast
from dataclasses import dataclass
from typing import TypeGuard

from archloop.evaluation.allowed_libraries import STARS, is_allowed, look_up, names_of
from archloop.evaluation.scopes import Binding, Scope, Scoped, binder, imported, scoped, text_of

ImportStatement = ast.Import | ast.ImportFrom
# How long a chain of other names for one thing may be.
LONGEST_CHAIN = 20
MOST_PATHS = 50  # what one name may stand for
# What an expression may be: dotted paths into libraries, such as torch.nn.functional.relu.
Paths = frozenset[str]
NO_PATHS: Paths = frozenset()
# What a handler of an import that fails may name.
IMPORT_ERRORS = {"BaseException", "Exception", "ImportError", "ModuleNotFoundError"}


@dataclass(frozen=True)
class Attribute:
    """An attribute that is taken: of `base` in `base.name` and in `getattr(base, "name")`."""

    base: ast.expr
    name: str


class ParsedProgram:
    """A program taken apart.

    nodes: each node that runs, with its scope. script: statements that only a script would run.
    imports: all of them. guarded: ids of imported names that are not allowed, and for whose lack
    the program has an answer. unused: ids of those that nobody reads.
    """

    def __init__(self, tree: ast.Module):
        """tree: of the whole program; what only a script would run is taken out of it."""
        self.tree = tree
        self.script = [node for node in tree.body if is_script(node)]
        tree.body = [node for node in tree.body if not is_script(node)]
        self.nodes = scoped(tree)
        self.imports: list[ImportStatement] = []
        self.calls: dict[int, ast.Call] = {}  # by the id of what is called
        for node, _ in self.nodes:
            if _is_import(node):
                self.imports.append(node)
            elif isinstance(node, ast.Call):
                self.calls[id(node.func)] = node

        self.guarded = _guarded_imports(self.nodes)
        self.unused = _unused_imports(self.nodes, self.imports)
        self.left_out = self.unused | self.guarded
        self.stars = _names_of_stars(self.imports)
        self.tangled: list[str] = []  # names at the end of too long a chain of other names

        # What is known so far: id of an expression, or name and scope -> the paths of a library
        # that it may be. An id stays that of its node, for the tree is kept.
        self._known: dict[int, Paths] = {}
        self._names: dict[tuple[str, Scope], Paths] = {}

    @property
    def module(self) -> Scope:
        return self.nodes[0][1]

    def paths(self, node: ast.expr, scope: Scope, depth: int = 0) -> Paths:
        """Return the dotted paths into libraries that an expression may stand for.

        There is none for all else. `x.a.b` is walked from the outside in to what is known or has no
        base, and then back, without recursion.
        """
        # Expressions, each taken of the next, with the attribute's name.
        chain: list[tuple[ast.expr, str | None]] = []
        while id(node) not in self._known:
            if isinstance(node, ast.NamedExpr):
                node = node.value
                continue

            taken = attribute_of(node, scope)
            chain.append((node, taken.name if taken else None))
            if taken is None:
                break
            node = taken.base

        # Back from what is known, one attribute after the other.
        paths = self._known.get(id(node))
        for part, name in reversed(chain):
            if paths is not None:
                paths = _longer(paths, name)
            elif isinstance(part, ast.Name):
                paths = self._named(part.id, scope, depth)
            else:
                paths = NO_PATHS
            self._known[id(part)] = paths
        return paths or NO_PATHS

    def _named(self, name: str, scope: Scope, depth: int) -> Paths:
        """Return the paths that a name may stand for, through at most LONGEST_CHAIN other names."""
        paths: set[str] = set()
        scopes = binder(name, scope)
        for binding_scope, bindings in scopes:
            paths |= self._bound(name, binding_scope, bindings, depth)

        if not scopes and name in self.stars:
            paths.add(self.stars[name])
        return frozenset(paths)

    def _bound(self, name: str, scope: Scope, bindings: list[Binding], depth: int) -> Paths:
        """Return the paths that a name may stand for by what binds it in one scope.

        Found once, in however many scopes it is read.
        """
        if (name, scope) in self._names:
            return self._names[name, scope]
        if depth > LONGEST_CHAIN:
            self.tangled.append(name)
            return NO_PATHS

        self._names[name, scope] = NO_PATHS  # where a name stands for itself
        paths: set[str] = set()
        for binding in bindings:
            if binding.origin:
                if id(binding.alias) not in self.guarded:
                    paths.add(binding.origin)
            elif binding.value is not None and binding.scope is not None:
                paths |= self.paths(binding.value, binding.scope, depth + 1)

        if len(paths) > MOST_PATHS:
            self.tangled.append(name)
            paths.clear()
        self._names[name, scope] = frozenset(paths)
        return self._names[name, scope]


def _longer(paths: Paths, name: str | None) -> Paths:
    """Return the paths of an attribute of what these paths are."""
    longer = set()
    for path in paths:
        if path.count(".") < LONGEST_CHAIN:
            longer.add(f"{path}.{name}")
    return frozenset(longer)


def attribute_of(node: ast.expr, scope: Scope) -> Attribute | None:
    """Return the attribute that an expression takes.

    None where it takes none, or one of an unknown name.
    """
    if isinstance(node, ast.Attribute):
        return Attribute(node.value, node.attr)
    if not isinstance(node, ast.Call):
        return None

    called, arguments = node.func, node.args
    if not isinstance(called, ast.Name) or called.id != "getattr" or len(arguments) < 2:
        return None
    name = text_of(arguments[1], scope)
    return None if name is None else Attribute(arguments[0], name)


def _is_import(node: ast.AST) -> TypeGuard[ImportStatement]:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def refused_import(node: ImportStatement, alias: ast.alias) -> str | None:
    """Return what is wrong with one name of an import statement."""
    if isinstance(node, ast.Import):
        module = whole = alias.name
    else:
        module = "." * node.level + (node.module or "")
        whole = f"{module}.{alias.name}"

    if module.startswith(".") or not is_allowed(module):
        return f"imports {module}"
    if isinstance(node, ast.ImportFrom) and alias.name == "*":
        return None if module in STARS else f"imports everything from {module}"
    kind, _ = look_up(whole)
    return f"imports {whole}" if kind == "refused" else None


def _guarded_imports(nodes: list[Scoped]) -> set[int]:
    """Return the ids of the imported names that are not allowed and whose lack is answered.

    They stand in `try: ... except ImportError:`.
    """
    guarded = set()
    for node, _ in nodes:
        if not isinstance(node, ast.Try):
            continue
        if not any(_catches_import(handler) for handler in node.handlers):
            continue

        for statement in filter(_is_import, node.body):
            for alias in statement.names:
                if refused_import(statement, alias):
                    guarded.add(id(alias))
    return guarded


def _catches_import(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler answers an import that fails."""
    if handler.type is None:
        return True
    names = set()
    for node in ast.walk(handler.type):
        if isinstance(node, ast.Name):
            names.add(node.id)
    return not names.isdisjoint(IMPORT_ERRORS)


def _unused_imports(nodes: list[Scoped], imports: list[ImportStatement]) -> set[int]:
    """Return the ids of the imported names that are not allowed and that nobody reads."""
    names = set()
    for node, scope in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            names.add((node.id, scope))

    # Once for each scope that binds a name, in however many it is read.
    bindings: dict[tuple[str, Scope], list[Binding]] = {}
    for name, scope in names:
        for binding_scope, bound in binder(name, scope):
            bindings[name, binding_scope] = bound

    read = set()
    for bound in bindings.values():
        for binding in bound:
            read.add(id(binding.alias))

    unused = set()
    for statement in imports:
        for _, _, alias in imported(statement):
            is_read = id(alias) in read or alias.name == "*"
            if not is_read and refused_import(statement, alias):
                unused.add(id(alias))
    return unused


def _names_of_stars(imports: list[ImportStatement]) -> dict[str, str]:
    """Return name -> path of what `from module import *` brings."""
    paths: dict[str, str] = {}
    for statement in imports:
        if not isinstance(statement, ast.ImportFrom):
            continue

        module, first = statement.module, statement.names[0]
        if first.name == "*" and module in STARS:
            for name in names_of(module):
                paths[name] = f"{module}.{name}"
    return paths


def is_script(node: ast.stmt) -> bool:
    """Say whether a statement is `if __name__ == "__main__":`, which is never true here."""
    if not isinstance(node, ast.If) or node.orelse:
        return False
    if not isinstance(node.test, ast.Compare) or len(node.test.ops) != 1:
        return False

    if not isinstance(node.test.ops[0], ast.Eq):
        return False
    left, right = node.test.left, node.test.comparators[0]
    if isinstance(right, ast.Name):  # the other way round means the same
        left, right = right, left
    return isinstance(left, ast.Name) and left.id == "__name__" and text_of(right) == "__main__"
