"""Which name in a program means what: the scopes of Python, what is bound in each, and texts put
together of names.

No recursion and no pass over the program for each name: however deep or long a program is, it takes
linear time.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeGuard

Function = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
Comprehension = ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
LONGEST_TEXT = 200  # parts that a text is put together from
# Parts of a program that hold no name.
WORDLESS = (ast.expr_context, ast.operator, ast.unaryop, ast.cmpop, ast.boolop)


@dataclass(eq=False)
class Scope:
    """A module, class, function or comprehension.

    bound: name -> what it is bound to, see `Binding`.
    """

    kind: str
    outer: "Scope | None" = None
    bound: dict[str, list["Binding"]] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)  # name -> global or nonlocal

    def bind(self, name: str, binding: "Binding") -> None:
        self.bound.setdefault(name, []).append(binding)


@dataclass(frozen=True, eq=False)
class Binding:
    """One way in which a name gets a value: by an import of `origin`, as another name for `value`,
    or otherwise.
    """

    origin: str | None = None
    value: ast.expr | None = None
    scope: Scope | None = None
    alias: ast.alias | None = None


# A part of a program, with the scope that its names are looked up in.
Scoped = tuple[ast.AST, Scope]
# The same of a text; without a scope no name counts.
Part = tuple[ast.expr, Scope | None]


def scoped(tree: ast.Module) -> list[Scoped]:
    """Return every node, in the order of the text, with its scope.

    What is bound is in the scopes.
    """
    nodes: list[Scoped] = []
    to_do: list[Scoped] = [(tree, Scope("module"))]

    while to_do:
        node, scope = to_do.pop()
        nodes.append((node, scope))
        _bind(node, scope)
        # What is put on a stack last is taken first.
        children = list(_children(node, scope))
        to_do.extend(reversed(children))
    return nodes


def binder(name: str, scope: Scope) -> list[tuple[Scope, list[Binding]]]:
    """Return the scopes in which a name that is read may be bound, the innermost first.

    The list is empty for a builtin.
    """
    current: Scope | None = scope
    if scope.elsewhere.get(name) == "global":
        current = _module(scope)
    elif scope.elsewhere.get(name) == "nonlocal":
        current = scope.outer

    scopes = []
    first = True
    while current is not None:
        # What a class body binds is not seen in the functions below it.
        if name in current.bound and (first or current.kind != "class"):
            scopes.append((current, current.bound[name]))

            # In a class body a name may be bound later, and then means the outer one.
            if current.kind != "class":
                return scopes
        current, first = current.outer, False
    return scopes


def bindings_of(name: str, scope: Scope) -> list[Binding]:
    """Return all ways in which a name that is read may have got its value."""
    bindings = []
    for _, bound in binder(name, scope):
        bindings += bound
    return bindings


def text_of(node: ast.expr, scope: Scope | None = None) -> str | None:
    """Return the text that an expression is, put together from written parts.

    None where it is not known. scope: where it stands; with it a name counts that is bound to such
    a text and never to anything else.
    """
    written: list[str] = []
    to_do: list[Part] = [(node, scope)]
    # Bounded, for a name may stand for a text with that name in it.
    for _ in range(LONGEST_TEXT):
        if not to_do:
            return "".join(written)
        part, part_scope = to_do.pop()
        if isinstance(part, ast.Constant) and isinstance(part.value, str):
            written.append(part.value)
            continue

        inner = _put_together(part, part_scope)
        if inner is None:
            return None
        to_do += reversed(inner)
    return None


def _put_together(node: ast.expr, scope: Scope | None) -> list[Part] | None:
    """Return the parts, with their scopes, that make up a text in their order.

    None for what is no such text.
    """
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [(node.left, scope), (node.right, scope)]
    if isinstance(node, ast.JoinedStr):
        return [(value, scope) for value in node.values]

    if isinstance(node, ast.FormattedValue) and node.format_spec is None:
        return [(node.value, scope)]

    joined = _joined(node)
    if joined is not None:
        return [(element, scope) for element in joined]
    if isinstance(node, ast.Name) and scope is not None:
        return _only_value(node.id, scope)
    return None


def _joined(node: ast.expr) -> list[ast.expr] | None:
    """Return the elements of `"".join([...])`; None for anything else."""
    if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return None
    between, method = node.func.value, node.func.attr
    if not isinstance(between, ast.Constant) or between.value != "" or method != "join":
        return None

    if len(node.args) != 1:
        return None
    joined = node.args[0]
    return joined.elts if isinstance(joined, (ast.List, ast.Tuple)) else None


def _only_value(name: str, scope: Scope) -> list[Part] | None:
    """Return the one value that a name has, with its scope.

    None for a name that may have another.
    """
    bindings = bindings_of(name, scope)
    # Its one assignment binds it twice: as a value, and as a name that is written to.
    if len(bindings) != 2:
        return None

    values: list[Part] = []
    for binding in bindings:
        if binding.value is not None:
            values.append((binding.value, binding.scope))
    return values if len(values) == 1 else None


def _module(scope: Scope) -> Scope:
    while scope.outer is not None:
        scope = scope.outer
    return scope


def _bind(node: ast.AST, scope: Scope) -> None:
    """Bind in its scope what a node binds."""
    for name, binding in _bindings(node, scope):
        target = scope
        # In a comprehension `:=` binds outside of it (PEP 572).
        if isinstance(node, ast.NamedExpr):
            target = _around_comprehensions(scope)

        if target.elsewhere.get(name) == "global":
            target = _module(target)
        elif target.elsewhere.get(name) == "nonlocal":
            outer = binder(name, target)
            target = outer[0][0] if outer else target
        target.bind(name, binding)


def _around_comprehensions(scope: Scope) -> Scope:
    while scope.kind == "comprehension" and scope.outer is not None:
        scope = scope.outer
    return scope


def _bindings(node: ast.AST, scope: Scope) -> Iterator[tuple[str, Binding]]:
    """Yield (name, how it is bound) of what a node binds by itself."""
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        for name, origin, alias in imported(node):
            yield name, Binding(origin, alias=alias)
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name, Binding()
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id, Binding()
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name):
                yield target.id, Binding(None, node.value, scope)
    elif isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
        if isinstance(node.target, ast.Name) and node.value:
            yield node.target.id, Binding(None, node.value, scope)
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
        yield node.name, Binding()
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest, Binding()


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str, ast.alias]]:
    """Yield (name in the program, what it stands for, the part of the statement) of every name that
    it binds.
    """
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield alias.asname or alias.name, f"{module}.{alias.name}", alias
        elif alias.asname:
            yield alias.asname, alias.name, alias
        else:
            root = alias.name.partition(".")[0]
            yield root, root, alias


def _children(node: ast.AST, scope: Scope) -> Iterator[Scoped]:
    """Yield the parts of a node with their scopes."""
    if _is_function(node):
        yield from _parts_of_function(node, scope)
    elif isinstance(node, ast.ClassDef):
        yield from _parts_of_class(node, scope)
    elif _is_comprehension(node):
        yield from _parts_of_comprehension(node, scope)
    else:
        for child in ast.iter_child_nodes(node):
            if not isinstance(child, WORDLESS):
                yield child, scope


def _is_function(node: ast.AST) -> TypeGuard[Function]:
    return isinstance(node, FUNCTIONS)


def _is_comprehension(node: ast.AST) -> TypeGuard[Comprehension]:
    return isinstance(node, COMPREHENSIONS)


def arguments_of(node: Function) -> list[ast.arg]:
    """Return the arguments of a function, of every kind, in the order of the tree."""
    return [child for child in ast.iter_child_nodes(node.args) if isinstance(child, ast.arg)]


def _parts_of_function(node: Function, scope: Scope) -> Iterator[Scoped]:
    """Yield decorators, annotations and defaults in the scope around a function, its body in its
    own.
    """
    arguments = arguments_of(node)

    outside: list[ast.expr | None] = []
    body: list[ast.stmt] | list[ast.expr]
    if isinstance(node, ast.Lambda):
        body = [node.body]
    else:
        body = node.body
        outside += [*node.decorator_list, node.returns]
    outside += [*node.args.defaults, *node.args.kw_defaults]
    outside += [argument.annotation for argument in arguments]

    inner = Scope("function", scope)
    _declare(node, inner)
    for part in outside:
        if part is not None:
            yield part, scope

    for argument in arguments:
        inner.bind(argument.arg, Binding())

    for statement in body:
        yield statement, inner


def _parts_of_class(node: ast.ClassDef, scope: Scope) -> Iterator[Scoped]:
    """Yield decorators and bases in the scope around a class, its body in its own."""
    inner = Scope("class", scope)
    _declare(node, inner)
    for part in (*node.decorator_list, *node.bases, *node.keywords):
        yield part, scope
    for statement in node.body:
        yield statement, inner


def _parts_of_comprehension(node: Comprehension, scope: Scope) -> Iterator[Scoped]:
    """Yield the parts of a comprehension, all in its own scope but for one.

    What the first loop goes over is evaluated in the scope around it.
    """
    inner = Scope("comprehension", scope)

    first = node.generators[0].iter
    yield first, scope
    for child in ast.iter_child_nodes(node):
        if not isinstance(child, ast.comprehension):
            yield child, inner
            continue
        for part in (child.target, child.iter, *child.ifs):
            if part is not first:
                yield part, inner


def _declare(node: Function | ast.ClassDef, inner: Scope) -> None:
    """Note which names of a body are declared global or nonlocal.

    Called before anything in it is bound.
    """
    to_do: list[ast.AST] = []
    if not isinstance(node, ast.Lambda):
        to_do += node.body

    while to_do:
        part = to_do.pop()
        if isinstance(part, (ast.Global, ast.Nonlocal)):
            inner.elsewhere |= dict.fromkeys(part.names, type(part).__name__.lower())
        elif not isinstance(part, (*FUNCTIONS, ast.ClassDef, ast.expr)):
            to_do.extend(ast.iter_child_nodes(part))
