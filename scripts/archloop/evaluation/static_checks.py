"""What can be said of a program without running it: does it parse, is it tame, does it keep the contract?

An allow-list of what a program may import and reach (library.py), and names that no network needs. It is a cheap
refusal with an honest message, of what is written plainly or under another name. It is no wall: what a program does in
its own process cannot be told from its text, and the walls around that process are what protects.
"""

import ast
import re
import warnings
from collections.abc import Iterator

from archloop.evaluation.allowed_libraries import STARS, is_allowed, look_up, names_of
from archloop.evaluation.scopes import Scope, binder, imported, scoped, text_of
from archloop.texts import UNREADABLE, line_feeds

MAXIMUM_BYTES = 200_000
# Builtins, and names of every module, that are refused unless they are a function's own.
NAMES = {
    *(
        "__builtins__",
        "__file__",
        "__import__",
        "__loader__",
        "__spec__",
        "breakpoint",
        "compile",
        "eval",
        "exec",
    ),
    *(
        "exit",
        "globals",
        "hash",
        "help",
        "id",
        "input",
        "locals",
        "memoryview",
        "open",
        "quit",
        "vars",
    ),
}
ATTRIBUTES = {
    *(
        "_C",
        "ag_frame",
        "cr_frame",
        "ctypeslib",
        "data_ptr",
        "f_back",
        "f_builtins",
        "f_globals",
        "f_locals",
    ),
    *(
        "from_buffer",
        "from_file",
        "gi_frame",
        "memmap",
        "share_memory_",
        "tb_frame",
        "tofile",
        "untyped_storage",
    ),
    *("builtins", "ctypes", "import_module", "importlib", "subprocess"),
}
DUNDERS = {
    *(
        "__annotations__",
        "__call__",
        "__class__",
        "__doc__",
        "__enter__",
        "__exit__",
        "__init__",
        "__len__",
    ),
    *("__module__", "__name__", "__new__", "__post_init__", "__qualname__", "__version__"),
}
# Special methods that a class may call of itself or of the class that it inherits from.
OWN_DUNDERS = {
    *(
        "__contains__",
        "__delattr__",
        "__delitem__",
        "__dict__",
        "__dir__",
        "__getattr__",
        "__getitem__",
        "__iter__",
    ),
    *(
        "__getstate__",
        "__init_subclass__",
        "__repr__",
        "__setattr__",
        "__setitem__",
        "__setstate__",
    ),
    "__str__",
}
TEXTS = (ast.Constant, ast.BinOp, ast.JoinedStr, ast.Call)  # what a text may be written as
SPELLED = DUNDERS | {"__main__"}
SPECIAL_NAME = re.compile(r"__\w+__")
ATTRIBUTE_CALLS = ("getattr", "setattr", "delattr")
SEEDS = ("random.seed", "numpy.random.seed")  # without a number they take one from the system
# How long a chain of other names for one thing may be.
LONGEST_CHAIN = 20
MOST_PATHS = 50  # what one name may stand for
COMPUTED = ("torch.nn", "torch.nn.functional")  # modules of which a name may be computed
BASES = ("torch.nn.Module", "torch.nn.modules.module.Module", "torch.nn.modules.Module")


def check_program(program: str | None) -> tuple[str, str] | None:
    """Return (outcome, reason) for a program that is refused unrun: unparseable, unsafe or contract; else None."""
    if program is None:
        return "unparseable", "the answer holds no program"
    if len(program.encode("utf-8", "backslashreplace")) > MAXIMUM_BYTES:
        return "unparseable", f"longer than {MAXIMUM_BYTES} bytes"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(program)
            compile(tree, "<program>", "exec")
            read = _Read(tree)
            unsafe = next(_unsafe(read), None)
            missing = _missing(tree, read)
    except UNREADABLE as error:
        return "unparseable", f"{type(error).__name__}: {error}"
    if unsafe:
        return "unsafe", unsafe
    return ("contract", missing) if missing else None


def without_unused(program: str) -> str:
    """Return the program that is run: without imports that it never uses, and without what only a script would run.

    Both are common in what people and models write, and stand for nothing in a network. Left out are an import of what
    is not allowed, where nothing reads its name, and `if __name__ == "__main__":`; an import of what is not allowed for
    whose lack the program has an answer (`except ImportError:`) is one of something that is not there. A program that
    cannot be read stays as it is.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            read = _Read(ast.parse(program))
    except UNREADABLE:
        return program
    edits = [(node, "pass") for node in read.script]
    for node in read.imports:
        kept = [alias for alias in node.names if id(alias) not in read.unused]
        if any(id(alias) in read.guarded for alias in kept):
            edits.append((node, "raise ImportError"))
        elif len(kept) < len(node.names):
            node.names = kept
            edits.append((node, ast.unparse(node) if kept else "pass"))
    lines = line_feeds(program).encode("utf-8", "surrogatepass").split(b"\n")
    for node, text in sorted(
        edits, key=lambda each: (each[0].lineno, each[0].col_offset), reverse=True
    ):
        before, after = (
            lines[node.lineno - 1][: node.col_offset],
            lines[node.end_lineno - 1][node.end_col_offset :],
        )
        blank = [b""] * (
            node.end_lineno - node.lineno
        )  # so that the lines of an error stay those of the program
        lines[node.lineno - 1 : node.end_lineno] = [before + text.encode() + after, *blank]
    return b"\n".join(lines).decode("utf-8", "surrogatepass") if edits else program


class _Read:
    """A program taken apart. nodes: each node that runs, with its scope. unused: ids of import names nobody reads."""

    def __init__(self, tree: ast.Module):
        self.script = [node for node in tree.body if _is_script(node)]
        tree.body = [node for node in tree.body if not _is_script(node)]
        self.nodes = scoped(tree)
        self.known: dict[
            int, frozenset[str]
        ] = {}  # id of an expression -> the paths of a library that it may be
        self.names: dict[tuple[str, Scope], frozenset[str]] = {}
        self.tangled: list[str] = []  # names at the end of too long a chain of other names
        self.imports = [
            node for node, _ in self.nodes if isinstance(node, (ast.Import, ast.ImportFrom))
        ]
        self.guarded = {
            id(alias)
            for node, _ in self.nodes
            if isinstance(node, ast.Try) and any(_catches_import(each) for each in node.handlers)
            for each in node.body
            if isinstance(each, (ast.Import, ast.ImportFrom))
            for alias in each.names
            if _refused_import(each, alias)
        }
        names = {
            (node.id, scope)
            for node, scope in self.nodes
            if isinstance(node, ast.Name) and _is_read(node)
        }
        read = {
            id(each.alias)
            for name, scope in names
            for _, bound in binder(name, scope)
            for each in bound
        }
        self.unused = {
            id(alias)
            for node in self.imports
            for _, _, alias in imported(node)
            if id(alias) not in read and alias.name != "*" and _refused_import(node, alias)
        }
        self.left_out = self.unused | self.guarded
        self.calls = {id(node.func): node for node, _ in self.nodes if isinstance(node, ast.Call)}
        stars = [
            node.module
            for node in self.imports
            if isinstance(node, ast.ImportFrom) and node.names[0].name == "*"
        ]
        self.stars = {
            name: f"{module}.{name}"
            for module in stars
            if module in STARS
            for name in names_of(module)
        }

    def paths(self, node: ast.expr, scope: Scope, depth: int = 0) -> frozenset[str]:
        """Return the dotted paths into libraries that an expression may stand for; none for all else."""
        chain = []
        while id(node) not in self.known:
            if isinstance(node, ast.NamedExpr):
                node = node.value
                continue
            chain.append(node)
            base = _base(node, scope)
            if base is None:
                break
            node = base
        found = self.known.get(id(node))
        for each in reversed(chain):
            if found is None:
                found = (
                    self._named(each.id, scope, depth)
                    if isinstance(each, ast.Name)
                    else frozenset()
                )
            else:
                found = frozenset(
                    f"{path}.{_part(each, scope)}"
                    for path in found
                    if path.count(".") < LONGEST_CHAIN
                )
            self.known[id(each)] = found
        return found

    def _named(self, name: str, scope: Scope, depth: int) -> frozenset[str]:
        if (name, scope) in self.names:
            return self.names[name, scope]
        if depth > LONGEST_CHAIN:
            self.tangled.append(name)
            return frozenset()
        scopes = binder(name, scope)
        if not scopes:
            return frozenset([self.stars[name]] if name in self.stars else [])
        found = set()
        self.names[name, scope] = frozenset()  # where a name stands for itself
        for each in (binding for _, bound in scopes for binding in bound):
            if each.origin:
                found |= {each.origin} if id(each.alias) not in self.guarded else set()
            elif each.value is not None:
                found |= self.paths(each.value, each.scope, depth + 1)
        if len(found) > MOST_PATHS:
            self.tangled.append(name)
            found.clear()
        self.names[name, scope] = frozenset(found)
        return self.names[name, scope]


def _is_read(node: ast.Name) -> bool:
    return not isinstance(node.ctx, ast.Store)


def _base(node: ast.expr, scope: Scope) -> ast.expr | None:
    """Return what an attribute is taken of: of `x` in `x.name` and in `getattr(x, "name")`."""
    if isinstance(node, ast.Attribute):
        return node.value
    return node.args[0] if _part(node, scope) is not None else None


def _part(node: ast.expr, scope: Scope) -> str | None:
    """Return the name of the attribute that an expression takes."""
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "getattr":
        return text_of(node.args[1], scope) if len(node.args) > 1 else None
    return None


def _catches_import(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler answers an import that fails."""
    names = (
        {node.id for node in ast.walk(handler.type) if isinstance(node, ast.Name)}
        if handler.type
        else {"Exception"}
    )
    return not names.isdisjoint(
        {"BaseException", "Exception", "ImportError", "ModuleNotFoundError"}
    )


def _is_script(node: ast.stmt) -> bool:
    """Say whether a statement is `if __name__ == "__main__":`, which is never true here."""
    return (
        isinstance(node, ast.If)
        and not node.orelse
        and isinstance(node.test, ast.Compare)
        and isinstance(node.test.left, ast.Name)
        and node.test.left.id == "__name__"
        and isinstance(node.test.ops[0], ast.Eq)
        and len(node.test.ops) == 1
        and text_of(node.test.comparators[0]) == "__main__"
    )


def _unsafe(read: _Read) -> Iterator[str]:
    """Yield what is not allowed, in words."""
    docstrings = {id(node.value) for node, _ in read.nodes if isinstance(node, ast.Expr)}
    in_place = {id(each) for node, _ in read.nodes for each in _may_be_modules(node)}
    for node, scope in read.nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _unsafe_import(node, read)
        elif isinstance(node, ast.Name):
            yield from _unsafe_name(node, scope, read)
        elif isinstance(node, ast.Attribute):
            yield from _unsafe_attribute(node, scope, read)
        elif isinstance(node, ast.Call):
            yield from _unsafe_call(node, scope, read)
        elif isinstance(node, ast.MatchClass):
            yield from (f"uses the attribute {name}" for name in node.kwd_attrs if _is_hidden(name))
        if isinstance(node, ast.expr) and id(node) not in docstrings:
            found = (
                SPECIAL_NAME.search(text_of(node, scope) or "") if isinstance(node, TEXTS) else None
            )
            if found and found[0] not in SPELLED:
                yield f"spells {found[0]}"
        if isinstance(node, (ast.Name, ast.Attribute)) and id(node) not in in_place:
            for path in read.paths(node, scope):
                if look_up(path)[0] == "module" and not isinstance(node.ctx, ast.Store):
                    yield f"hands the module {path} around"
        yield from (f"uses {name}, which stands for too many others" for name in read.tangled[:1])


def _may_be_modules(node: ast.AST) -> Iterator[ast.expr]:
    """Yield the parts of a node where a module may stand, because it is clear what becomes of it there."""
    if isinstance(node, ast.Attribute):
        yield node.value
    elif isinstance(node, (ast.Assign, ast.AnnAssign, ast.NamedExpr)):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        if node.value is not None and all(isinstance(each, ast.Name) for each in targets):
            yield node.value
    elif (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id in ("dir", "getattr", "hasattr")
    ):
        yield from node.args[:1]
    elif isinstance(node, ast.Compare):
        yield from (node.left, *node.comparators)
    elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        arguments = [each for each in ast.iter_child_nodes(node.args) if isinstance(each, ast.arg)]
        yield from (each.annotation for each in arguments if each.annotation is not None)


def _refused_import(node: ast.Import | ast.ImportFrom, alias: ast.alias) -> str | None:
    """Return what is wrong with one name of an import statement."""
    module = alias.name if isinstance(node, ast.Import) else "." * node.level + (node.module or "")
    if module.startswith(".") or not is_allowed(module):
        return f"imports {module}"
    if isinstance(node, ast.ImportFrom) and alias.name == "*":
        return None if module in STARS else f"imports everything from {module}"
    whole = module if isinstance(node, ast.Import) else f"{module}.{alias.name}"
    return f"imports {whole}" if look_up(whole)[0] == "refused" else None


def _unsafe_import(node: ast.Import | ast.ImportFrom, read: _Read) -> Iterator[str]:
    for alias in node.names:
        refused = None if id(alias) in read.left_out else _refused_import(node, alias)
        if refused:
            yield refused


def _unsafe_name(node: ast.Name, scope: Scope, read: _Read) -> Iterator[str]:
    """Yield what is wrong with a name: a builtin that no network needs, where it is not a name of a function's own."""
    handed = node.id in ATTRIBUTE_CALLS and id(node) not in read.calls
    if isinstance(node.ctx, ast.Store) or not (handed or node.id in NAMES):
        return
    scopes = binder(node.id, scope)
    if not scopes or scopes[0][0].kind in ("module", "class"):
        yield f"hands {node.id} around" if handed else f"uses {node.id}"


def _is_hidden(name: str, own: bool = False, looked_up: bool = False) -> bool:
    """Say whether an attribute is none of a network's. own: of self or super(); looked_up: the allow-list knows it."""
    special = (
        SPECIAL_NAME.fullmatch(name) and name not in DUNDERS and not (own and name in OWN_DUNDERS)
    )
    return bool(special) or (name in ATTRIBUTES and not looked_up)


def _unsafe_attribute(node: ast.Attribute, scope: Scope, read: _Read) -> Iterator[str]:
    paths = read.paths(node, scope)
    refused = next(
        (whole for kind, whole in map(look_up, sorted(paths)) if kind == "refused"), None
    )
    call = read.calls.get(id(node))
    if refused and not (refused in SEEDS and call and call.args):
        yield f"uses {refused}"
    elif _is_hidden(node.attr, _is_own(node.value), bool(paths)):
        yield f"uses the attribute {node.attr}"
    elif paths and not isinstance(node.ctx, ast.Load):
        yield f"changes {look_up(min(paths))[1]}"


def _is_own(node: ast.expr) -> bool:
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id == "self"


def _unsafe_call(node: ast.Call, scope: Scope, read: _Read) -> Iterator[str]:
    """Yield what is wrong with a call of getattr, setattr or delattr: on modules and classes, or by a hidden name."""
    if not isinstance(node.func, ast.Name) or node.func.id not in ATTRIBUTE_CALLS or not node.args:
        return
    kind, target = node.func.id, node.args[0]
    modules = [look_up(path)[1] for path in read.paths(target, scope)]
    if _is_own(target) and not modules:
        return
    if kind != "getattr":
        yield f"uses {kind} on something other than self"
        return
    name = text_of(node.args[1], scope) if len(node.args) > 1 else None
    refused = next(
        (whole for how, whole in map(look_up, sorted(read.paths(node, scope))) if how == "refused"),
        None,
    )
    if name is not None and (refused or _is_hidden(name)):
        yield f"uses {refused or name}"
    if name is None and not (modules and all(module in COMPUTED for module in modules)):
        yield "uses getattr with a computed name"


def _missing(tree: ast.Module, read: _Read) -> str | None:
    """Return what the contract asks for and the program lacks, as far as its text shows it.

    What Net inherits is not known here, so of a Net with a base of its own the run decides.
    """
    module = next(scope for node, scope in read.nodes if node is tree)
    if "Net" not in module.bound:
        return "no class Net"
    nets = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == "Net"]
    net = nets[-1] if nets else None
    if net is not None and not net.keywords:
        bases = {path for base in net.bases for path in read.paths(base, module)}
        methods = {name for node in net.body for name in _defined(node)}
        known = not net.bases or (len(bases) == len(net.bases) and bases <= set(BASES))
        if known and not {"__init__", "forward"} <= methods:
            return f"Net has no {' and no '.join(sorted({'__init__', 'forward'} - methods))}"
    return (
        None
        if "supported_hyperparameters" in module.bound
        else "no function supported_hyperparameters"
    )


def _defined(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.FunctionDef):
        yield node.name
    elif isinstance(node, ast.Assign):
        yield from (each.id for each in node.targets if isinstance(each, ast.Name))
    elif isinstance(node, (ast.If, ast.Try, ast.With)):
        yield from ("__init__", "forward")  # who knows
