"""Which name in a program means what: the scopes of Python, what is bound in each, and texts put together of names.

No recursion and no pass over the program for each name: however deep or long a program is, it takes linear time.
"""

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field

COMPREHENSIONS = (ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)
LONGEST_TEXT = 200  # parts that a text is put together from
WORDLESS = (
    ast.expr_context,
    ast.operator,
    ast.unaryop,
    ast.cmpop,
    ast.boolop,
)  # parts that hold no name


@dataclass(eq=False)
class Scope:
    """A module, class, function or comprehension. bound: name -> what it is bound to, see `Binding`."""

    kind: str
    outer: "Scope | None" = None
    bound: dict[str, list] = field(default_factory=dict)
    elsewhere: dict[str, str] = field(default_factory=dict)  # name -> global or nonlocal

    def bind(self, name: str, binding: "Binding") -> None:
        self.bound.setdefault(name, []).append(binding)


@dataclass(frozen=True, eq=False)
class Binding:
    """One way in which a name gets a value: by an import of `origin`, as another name for `value`, or otherwise."""

    origin: str | None = None
    value: ast.expr | None = None
    scope: Scope | None = None
    alias: ast.alias | None = None


def scoped(tree: ast.Module) -> list[tuple[ast.AST, Scope]]:
    """Return every node, in the order of the text, with its scope; what is bound is in the scopes."""
    found, todo = [], [(tree, Scope("module"))]
    while todo:
        node, scope = todo.pop()
        found.append((node, scope))
        _bind(node, scope)
        todo.extend(reversed(list(_children(node, scope))))
    return found


def binder(name: str, scope: Scope) -> list[tuple[Scope, list[Binding]]]:
    """Return the scopes in which a name that is read may be bound, the innermost first; none for a builtin."""
    found, place = [], scope
    if scope.elsewhere.get(name) == "global":
        place = _module(scope)
    elif scope.elsewhere.get(name) == "nonlocal":
        place = scope.outer
    first = True
    while place is not None:
        if name in place.bound and (first or place.kind != "class"):
            found.append((place, place.bound[name]))
            if (
                place.kind != "class"
            ):  # in a class body a name may be bound later, and then means the outer one
                return found
        place, first = place.outer, False
    return found


def text_of(node: ast.expr, scope: Scope | None = None) -> str | None:
    """Return the text that an expression is, put together from written parts; None where it is not known.

    scope: where it stands; with it a name counts that is bound to such a text and never to anything else.
    """
    parts, todo = [], [(node, scope)]
    for _ in range(LONGEST_TEXT):
        if not todo:
            return "".join(parts)
        each, place = todo.pop()
        if isinstance(each, ast.Constant) and isinstance(each.value, str):
            parts.append(each.value)
            continue
        inner = _put_together(each, place)
        if inner is None:
            return None
        todo += reversed(inner)
    return None


def _put_together(
    node: ast.expr, scope: Scope | None
) -> list[tuple[ast.expr, Scope | None]] | None:
    """Return the parts, with their scopes, that make up a text in their order; None for what is no such text."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        return [(node.left, scope), (node.right, scope)]
    if isinstance(node, ast.JoinedStr):
        return [(each, scope) for each in node.values]
    if isinstance(node, ast.FormattedValue) and node.format_spec is None:
        return [(node.value, scope)]
    if _is_joined(node):
        return [(each, scope) for each in node.args[0].elts]
    if isinstance(node, ast.Name) and scope is not None:
        bindings = [binding for _, bound in binder(node.id, scope) for binding in bound]
        values = [
            (binding.value, binding.scope) for binding in bindings if binding.value is not None
        ]
        # Its one assignment binds it twice: as a value, and as a name that is written to.
        return values if len(values) == 1 and len(bindings) == 2 else None
    return None


def _is_joined(node: ast.expr) -> bool:
    """Say whether an expression is `"".join([...])`."""
    return (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and node.func.attr == "join"
        and isinstance(node.func.value, ast.Constant)
        and node.func.value.value == ""
        and len(node.args) == 1
        and isinstance(node.args[0], (ast.List, ast.Tuple))
    )


def _module(scope: Scope) -> Scope:
    while scope.outer is not None:
        scope = scope.outer
    return scope


def _bind(node: ast.AST, scope: Scope) -> None:
    """Bind in its scope what a node binds."""
    for name, binding in _bindings(node, scope):
        target = scope
        while target.kind == "comprehension" and isinstance(node, ast.NamedExpr):
            target = target.outer
        if target.elsewhere.get(name) == "global":
            target = _module(target)
        elif target.elsewhere.get(name) == "nonlocal":
            target = next((place for place, _ in binder(name, target)), target)
        target.bind(name, binding)


def _bindings(node: ast.AST, scope: Scope) -> Iterator[tuple[str, Binding]]:
    if isinstance(node, (ast.Import, ast.ImportFrom)):
        yield from ((name, Binding(origin, alias=alias)) for name, origin, alias in imported(node))
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
        yield node.name, Binding()
    elif isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
        yield node.id, Binding()
    elif isinstance(node, ast.Assign):
        yield from (
            (each.id, Binding(None, node.value, scope))
            for each in node.targets
            if isinstance(each, ast.Name)
        )
    elif (
        isinstance(node, (ast.AnnAssign, ast.NamedExpr))
        and isinstance(node.target, ast.Name)
        and node.value
    ):
        yield node.target.id, Binding(None, node.value, scope)
    elif isinstance(node, (ast.ExceptHandler, ast.MatchAs, ast.MatchStar)) and node.name:
        yield node.name, Binding()
    elif isinstance(node, ast.MatchMapping) and node.rest:
        yield node.rest, Binding()


def imported(node: ast.Import | ast.ImportFrom) -> Iterator[tuple[str, str, ast.alias]]:
    """Yield (name in the program, what it stands for, the part of the statement) of every name that it binds."""
    for alias in node.names:
        if isinstance(node, ast.ImportFrom):
            yield (
                alias.asname or alias.name,
                f"{'.' * node.level}{node.module or ''}.{alias.name}",
                alias,
            )
        else:
            root = alias.name.partition(".")[0]
            yield alias.asname or root, alias.name if alias.asname else root, alias


def _children(node: ast.AST, scope: Scope) -> Iterator[tuple[ast.AST, Scope]]:
    """Yield the parts of a node with their scopes."""
    if isinstance(node, FUNCTIONS):
        inner = Scope("function", scope)
        _declare(node, inner)
        outside = [*getattr(node, "decorator_list", ()), getattr(node, "returns", None)]
        outside += [*node.args.defaults, *node.args.kw_defaults]
        arguments = [each for each in ast.iter_child_nodes(node.args) if isinstance(each, ast.arg)]
        outside += [each.annotation for each in arguments]
        yield from ((each, scope) for each in outside if each is not None)
        for each in arguments:
            inner.bind(each.arg, Binding())
        body = node.body if isinstance(node.body, list) else [node.body]
        yield from ((each, inner) for each in body)
    elif isinstance(node, ast.ClassDef):
        inner = Scope("class", scope)
        _declare(node, inner)
        yield from ((each, scope) for each in [*node.decorator_list, *node.bases, *node.keywords])
        yield from ((each, inner) for each in node.body)
    elif isinstance(node, COMPREHENSIONS):
        inner = Scope("comprehension", scope)
        first = node.generators[0].iter
        yield first, scope
        for each in ast.iter_child_nodes(node):
            if isinstance(each, ast.comprehension):
                parts = [each.target, each.iter, *each.ifs]
                yield from ((part, inner) for part in parts if part is not first)
            else:
                yield each, inner
    else:
        yield from (
            (each, scope) for each in ast.iter_child_nodes(node) if not isinstance(each, WORDLESS)
        )


def _declare(node: ast.AST, inner: Scope) -> None:
    """Note which names of a body are declared global or nonlocal, before anything in it is bound."""
    body = node.body if isinstance(node.body, list) else []
    todo = list(body)
    while todo:
        each = todo.pop()
        if isinstance(each, (ast.Global, ast.Nonlocal)):
            inner.elsewhere |= dict.fromkeys(each.names, type(each).__name__.lower())
        elif not isinstance(each, (*FUNCTIONS, ast.ClassDef, ast.expr)):
            todo.extend(ast.iter_child_nodes(each))
