"""What can be said of a program without running it: does it parse, is it tame, does it keep the
contract?

An allow-list of what a program may import and reach (allowed_libraries.py), and names that no
network needs. It is a cheap refusal with an honest message, of what is written plainly or under
another name. It protects nothing: what a program does in its own process cannot be told from its
text, and the sandbox around that process is what protects.
"""

import ast
import warnings
from collections.abc import Iterable, Iterator

from archloop.evaluation.allowed_libraries import look_up
from archloop.evaluation.parsed_program import ImportStatement, ParsedProgram, refused_import
from archloop.evaluation.scopes import Scope, arguments_of, binder, text_of
from archloop.evaluation.unsafe_names import NAMES, is_hidden, spelled_name
from archloop.texts import UNREADABLE, line_feeds, syntax_tree

MAXIMUM_BYTES = 200_000
TEXTS = (ast.Constant, ast.BinOp, ast.JoinedStr, ast.Call)  # what a text may be written as
ATTRIBUTE_CALLS = ("getattr", "setattr", "delattr")
# Calls to which a module may be handed, for it is clear what they do with it.
MODULE_CALLS = ("dir", "getattr", "hasattr")
SEEDS = ("random.seed", "numpy.random.seed")  # without a number they take one from the system
COMPUTED = ("torch.nn", "torch.nn.functional")  # modules of which a name may be computed
BASES = {"torch.nn.Module", "torch.nn.modules.module.Module", "torch.nn.modules.Module"}
METHODS = {"__init__", "forward"}  # of Net


def check_program(program: str | None) -> tuple[str, str] | None:
    """Return (outcome, reason) for a program that is refused before it runs: unparseable, unsafe or
    contract; else None.
    """
    if program is None:
        return "unparseable", "the answer holds no program"
    if len(program.encode("utf-8", "backslashreplace")) > MAXIMUM_BYTES:
        return "unparseable", f"longer than {MAXIMUM_BYTES} bytes"

    try:
        tree = syntax_tree(program)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            # Some mistakes, such as a return outside of a function, only the compiler finds.
            compile(tree, "<program>", "exec")
            parsed = ParsedProgram(tree)
            unsafe = next(_unsafe(parsed), None)
            missing = _missing(parsed)
    except UNREADABLE as error:
        return "unparseable", f"{type(error).__name__}: {error}"

    if unsafe:
        return "unsafe", unsafe
    if missing:
        return "contract", missing
    return None


def without_unused(program: str) -> str:
    """Return the program that is run: without imports that it never uses, and without what only a
    script would run.

    Both are common in what people and models write, and stand for nothing in a network. Left out
    are an import of what is not allowed, where nothing reads its name, and `if __name__ ==
    "__main__":`; an import of what is not allowed for whose lack the program has an answer (`except
    ImportError:`) is one of something that is not there. A program that cannot be read stays as it
    is.
    """
    try:
        parsed = ParsedProgram(syntax_tree(program))
    except UNREADABLE:
        return program

    edits: list[tuple[ast.stmt, str]] = [(node, "pass") for node in parsed.script]
    for node in parsed.imports:
        kept = [alias for alias in node.names if id(alias) not in parsed.unused]
        is_guarded = any(id(alias) in parsed.guarded for alias in kept)
        if is_guarded:
            # What the program itself answers, in the `except` around it.
            edits.append((node, "raise ImportError"))
        elif not kept:
            edits.append((node, "pass"))
        elif len(kept) < len(node.names):
            node.names = kept
            edits.append((node, ast.unparse(node)))
    return _edited(program, edits) if edits else program


def _edited(program: str, edits: list[tuple[ast.stmt, str]]) -> str:
    """Return the program with statements replaced by others of one line.

    The lines of all else stay.
    """
    lines = line_feeds(program).encode("utf-8", "surrogatepass").split(b"\n")
    # From the end on, so that what comes before stays where it is.
    for node, text in sorted(edits, key=_position, reverse=True):
        first, last = node.lineno - 1, (node.end_lineno or node.lineno) - 1
        before = lines[first][: node.col_offset]
        after = lines[last][node.end_col_offset :]
        edited = before + text.encode() + after

        # So that the lines of an error stay those of the program.
        blank = [b""] * (last - first)
        lines[first : last + 1] = [edited, *blank]
    return b"\n".join(lines).decode("utf-8", "surrogatepass")


def _position(edit: tuple[ast.stmt, str]) -> tuple[int, int]:
    node, _ = edit
    return node.lineno, node.col_offset


def _unsafe(parsed: ParsedProgram) -> Iterator[str]:
    """Yield what is not allowed, in words."""
    # Ids of texts that stand alone, and of what stands where a module may.
    docstrings: set[int] = set()
    in_place: set[int] = set()
    for node, _ in parsed.nodes:
        if isinstance(node, ast.Expr):
            docstrings.add(id(node.value))
        for part in _may_be_modules(node):
            in_place.add(id(part))

    for node, scope in parsed.nodes:
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield from _unsafe_import(node, parsed)
        elif isinstance(node, ast.Name):
            yield from _unsafe_name(node, scope, parsed)
        elif isinstance(node, ast.Attribute):
            yield from _unsafe_attribute(node, scope, parsed)
        elif isinstance(node, ast.Call):
            yield from _unsafe_call(node, scope, parsed)
        elif isinstance(node, ast.MatchClass):
            yield from _unsafe_match(node)

        if isinstance(node, TEXTS) and id(node) not in docstrings:
            yield from _unsafe_text(node, scope)
        if isinstance(node, (ast.Name, ast.Attribute)) and id(node) not in in_place:
            yield from _unsafe_module(node, scope, parsed)
        if parsed.tangled:
            yield f"uses {parsed.tangled[0]}, which stands for too many others"


def _may_be_modules(node: ast.AST) -> Iterable[ast.expr | None]:
    """Return the parts of a node where a module may stand, because it is clear what becomes of it
    there.
    """
    if isinstance(node, ast.Attribute):
        return [node.value]
    if isinstance(node, ast.Assign):
        return [node.value] if _are_names(node.targets) else []
    if isinstance(node, (ast.AnnAssign, ast.NamedExpr)):
        return [node.value] if _are_names([node.target]) else []
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
        return node.args[:1] if node.func.id in MODULE_CALLS else []

    if isinstance(node, ast.Compare):
        return [node.left, *node.comparators]
    if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
        return [argument.annotation for argument in arguments_of(node)]
    return []


def _are_names(targets: Iterable[ast.expr]) -> bool:
    return all(isinstance(target, ast.Name) for target in targets)


def _unsafe_import(node: ImportStatement, parsed: ParsedProgram) -> Iterator[str]:
    for alias in node.names:
        if id(alias) in parsed.left_out:
            continue
        refused = refused_import(node, alias)
        if refused:
            yield refused


def _unsafe_name(node: ast.Name, scope: Scope, parsed: ParsedProgram) -> Iterator[str]:
    """Yield what is wrong with a name: a builtin that no network needs, where it is not a name of a
    function's own.
    """
    handed = node.id in ATTRIBUTE_CALLS and id(node) not in parsed.calls
    if isinstance(node.ctx, ast.Store) or not (handed or node.id in NAMES):
        return
    scopes = binder(node.id, scope)
    if not scopes or scopes[0][0].kind in ("module", "class"):
        yield f"hands {node.id} around" if handed else f"uses {node.id}"


def _unsafe_match(node: ast.MatchClass) -> Iterator[str]:
    for name in node.kwd_attrs:
        if is_hidden(name):
            yield f"uses the attribute {name}"


def _unsafe_text(node: ast.expr, scope: Scope) -> Iterator[str]:
    """Yield the special name that a text spells, which may be the name of an attribute."""
    special_name = spelled_name(text_of(node, scope) or "")
    if special_name is not None:
        yield f"spells {special_name}"


def _unsafe_module(
    node: ast.Name | ast.Attribute, scope: Scope, parsed: ParsedProgram
) -> Iterator[str]:
    """Yield the modules that stand where nobody can tell what becomes of them."""
    if isinstance(node.ctx, ast.Store):
        parsed.paths(node, scope)  # a name at the end of too long a chain is found so
        return
    for path in sorted(parsed.paths(node, scope)):
        if look_up(path)[0] == "module":
            yield f"hands the module {path} around"


def _first_refused(paths: Iterable[str]) -> str | None:
    """Return the first of some paths, by name, that the allow-list refuses."""
    for path in sorted(paths):
        kind, whole = look_up(path)
        if kind == "refused":
            return whole
    return None


def _unsafe_attribute(node: ast.Attribute, scope: Scope, parsed: ParsedProgram) -> Iterator[str]:
    paths = parsed.paths(node, scope)
    refused = _first_refused(paths)

    call = parsed.calls.get(id(node))
    is_seed_of_a_number = refused in SEEDS and call is not None and bool(call.args)
    if refused and not is_seed_of_a_number:
        yield f"uses {refused}"
    elif is_hidden(node.attr, _is_self_or_super(node.value), bool(paths)):
        yield f"uses the attribute {node.attr}"
    elif paths and not isinstance(node.ctx, ast.Load):
        yield f"changes {look_up(min(paths))[1]}"


def _is_self_or_super(node: ast.expr) -> bool:
    """Say whether an expression is `self` or a call of super."""
    if isinstance(node, ast.Call):
        return isinstance(node.func, ast.Name) and node.func.id == "super"
    return isinstance(node, ast.Name) and node.id == "self"


def _unsafe_call(node: ast.Call, scope: Scope, parsed: ParsedProgram) -> Iterator[str]:
    """Yield what is wrong with a call of getattr, setattr or delattr: on modules and classes, or by
    a hidden name.
    """
    if not isinstance(node.func, ast.Name) or not node.args:
        return
    if node.func.id not in ATTRIBUTE_CALLS:
        return

    target = node.args[0]
    modules = [look_up(path)[1] for path in parsed.paths(target, scope)]
    if _is_self_or_super(target) and not modules:
        return

    if node.func.id != "getattr":
        yield f"uses {node.func.id} on something other than self"
        return

    name = None
    if len(node.args) > 1:
        name = text_of(node.args[1], scope)
    refused = _first_refused(parsed.paths(node, scope))
    if name is not None and (refused or is_hidden(name)):
        yield f"uses {refused or name}"
    if name is None and not (modules and all(module in COMPUTED for module in modules)):
        yield "uses getattr with a computed name"


def _missing(parsed: ParsedProgram) -> str | None:
    """Return what the contract asks for and the program lacks, as far as its text shows it."""
    module = parsed.module
    if "Net" not in module.bound:
        return "no class Net"

    lacks = sorted(_missing_methods(parsed))
    if lacks:
        return f"Net has no {' and no '.join(lacks)}"
    if "supported_hyperparameters" not in module.bound:
        return "no function supported_hyperparameters"
    return None


def _missing_methods(parsed: ParsedProgram) -> set[str]:
    """Return the METHODS that Net lacks.

    What Net inherits is not known here, so of a Net with a base of its own the run decides.
    """
    net = None
    for node in parsed.tree.body:
        if isinstance(node, ast.ClassDef) and node.name == "Net":
            net = node
    if net is None or net.keywords:
        return set()

    bases: set[str] = set()
    for base in net.bases:
        bases |= parsed.paths(base, parsed.module)
    known = len(bases) == len(net.bases) and bases <= BASES
    if net.bases and not known:
        return set()

    methods: set[str] = set()
    for statement in net.body:
        methods |= _defined(statement)
    return METHODS - methods


def _defined(node: ast.stmt) -> set[str]:
    """Return the METHODS, and other names, that a statement of a class may define."""
    if isinstance(node, ast.FunctionDef):
        return {node.name}
    if isinstance(node, ast.Assign):
        return {target.id for target in node.targets if isinstance(target, ast.Name)}
    if isinstance(node, (ast.If, ast.Try, ast.With)):
        return METHODS  # who knows
    return set()
