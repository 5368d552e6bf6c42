"""A program taken apart: its nodes with their scopes, its imports, and what of a library an expression may be."""

import ast
from dataclasses import dataclass
from typing import TypeGuard

from archloop.evaluation.allowed_libraries import STARS, is_allowed, look_up, names_of
from archloop.evaluation.scopes import Scope, Scoped, bindings_of, imported, scoped, text_of

Import = ast.Import | ast.ImportFrom
# How long a chain of other names for one thing may be.
LONGEST_CHAIN = 20
MOST_PATHS = 50  # what one name may stand for
# What a handler of an import that fails may name.
IMPORT_ERRORS = {"BaseException", "Exception", "ImportError", "ModuleNotFoundError"}


@dataclass(frozen=True)
class Attribute:
    """An attribute that is taken: of `base` in `base.name` and in `getattr(base, "name")`."""

    base: ast.expr
    name: str


class ParsedProgram:
    """A program taken apart.

    nodes: each node that runs, with its scope. script: statements that only a script would run. imports: all of them.
    guarded: ids of imported names that are not allowed, and for whose lack the program has an answer. unused: ids of
    those that nobody reads.
    """

    def __init__(self, tree: ast.Module):
        """tree: of the whole program; what only a script would run is taken out of it."""
        self.tree = tree
        self.script = [node for node in tree.body if is_script(node)]
        tree.body = [node for node in tree.body if not is_script(node)]
        self.nodes = scoped(tree)
        self.imports = [node for node, _ in self.nodes if _is_import(node)]
        self.calls = {id(node.func): node for node, _ in self.nodes if isinstance(node, ast.Call)}

        self.guarded = _guarded_imports(self.nodes)
        self.unused = _unused_imports(self.nodes, self.imports)
        self.left_out = self.unused | self.guarded
        self.stars = _names_of_stars(self.imports)
        self.tangled: list[str] = []  # names at the end of too long a chain of other names

        # What is known so far: id of an expression, or name and scope -> the paths of a library that it may be.
        self._known: dict[int, frozenset[str]] = {}
        self._names: dict[tuple[str, Scope], frozenset[str]] = {}

    @property
    def module(self) -> Scope:
        return self.nodes[0][1]

    def paths(self, node: ast.expr, scope: Scope, depth: int = 0) -> frozenset[str]:
        """Return the dotted paths into libraries that an expression may stand for; none for all else.

        `x.a.b` is walked from the outside in to what is known or has no base, and then back, without recursion.
        """
        chain: list[
            tuple[ast.expr, str | None]
        ] = []  # expressions, each taken of the next, with the attribute's name
        while id(node) not in self._known:
            if isinstance(node, ast.NamedExpr):
                node = node.value
                continue
            taken = attribute_of(node, scope)
            chain.append((node, taken.name if taken else None))
            if taken is None:
                break
            node = taken.base

        found = self._known.get(id(node))
        for each, name in reversed(chain):
            if found is not None:
                found = _longer(found, name)
            elif isinstance(each, ast.Name):
                found = self._named(each.id, scope, depth)
            else:
                found = frozenset()
            self._known[id(each)] = found
        return found or frozenset()

    def _named(self, name: str, scope: Scope, depth: int) -> frozenset[str]:
        """Return the paths that a name may stand for, through at most LONGEST_CHAIN other names."""
        if (name, scope) in self._names:
            return self._names[name, scope]
        if depth > LONGEST_CHAIN:
            self.tangled.append(name)
            return frozenset()
        bindings = bindings_of(name, scope)
        if not bindings:
            return frozenset([self.stars[name]] if name in self.stars else [])

        self._names[name, scope] = frozenset()  # where a name stands for itself
        found: set[str] = set()
        for binding in bindings:
            if binding.origin:
                if id(binding.alias) not in self.guarded:
                    found.add(binding.origin)
            elif binding.value is not None and binding.scope is not None:
                found |= self.paths(binding.value, binding.scope, depth + 1)

        if len(found) > MOST_PATHS:
            self.tangled.append(name)
            found.clear()
        self._names[name, scope] = frozenset(found)
        return self._names[name, scope]


def _longer(paths: frozenset[str], name: str | None) -> frozenset[str]:
    """Return the paths of an attribute of what these paths are."""
    return frozenset(f"{path}.{name}" for path in paths if path.count(".") < LONGEST_CHAIN)


def attribute_of(node: ast.expr, scope: Scope) -> Attribute | None:
    """Return the attribute that an expression takes; None where it takes none, or one of an unknown name."""
    if isinstance(node, ast.Attribute):
        return Attribute(node.value, node.attr)
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
        return None
    if node.func.id != "getattr" or len(node.args) < 2:
        return None
    name = text_of(node.args[1], scope)
    return None if name is None else Attribute(node.args[0], name)


def _is_import(node: ast.AST) -> TypeGuard[Import]:
    return isinstance(node, (ast.Import, ast.ImportFrom))


def refused_import(node: Import, alias: ast.alias) -> str | None:
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
    return f"imports {whole}" if look_up(whole)[0] == "refused" else None


def _guarded_imports(nodes: list[Scoped]) -> set[int]:
    """Return the ids of the imported names that are not allowed and stand in `try: ... except ImportError:`."""
    found = set()
    for node, _ in nodes:
        if not isinstance(node, ast.Try):
            continue
        if not any(_catches_import(handler) for handler in node.handlers):
            continue
        for statement in node.body:
            if _is_import(statement):
                refused = [each for each in statement.names if refused_import(statement, each)]
                found |= {id(alias) for alias in refused}
    return found


def _catches_import(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler answers an import that fails."""
    if handler.type is None:
        return True
    names = {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
    return not names.isdisjoint(IMPORT_ERRORS)


def _unused_imports(nodes: list[Scoped], imports: list[Import]) -> set[int]:
    """Return the ids of the imported names that are not allowed and that nobody reads."""
    names = set()
    for node, scope in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Store):
            names.add((node.id, scope))
    read = set()
    for name, scope in names:
        read |= {id(binding.alias) for binding in bindings_of(name, scope)}

    found = set()
    for statement in imports:
        for _, _, alias in imported(statement):
            is_read = id(alias) in read or alias.name == "*"
            if not is_read and refused_import(statement, alias):
                found.add(id(alias))
    return found


def _names_of_stars(imports: list[Import]) -> dict[str, str]:
    """Return name -> path of what `from module import *` brings."""
    found: dict[str, str] = {}
    for statement in imports:
        if not isinstance(statement, ast.ImportFrom) or statement.names[0].name != "*":
            continue
        module = statement.module
        if module in STARS:
            found |= {name: f"{module}.{name}" for name in names_of(module)}
    return found


def is_script(node: ast.stmt) -> bool:
    """Say whether a statement is `if __name__ == "__main__":`, which is never true here."""
    if not isinstance(node, ast.If) or node.orelse or not isinstance(node.test, ast.Compare):
        return False
    test = node.test
    if not isinstance(test.left, ast.Name) or test.left.id != "__name__":
        return False
    if len(test.ops) != 1 or not isinstance(test.ops[0], ast.Eq):
        return False
    return text_of(test.comparators[0]) == "__main__"
