"""Single changes of a module's text, each of which its tests ought to notice: for tests/mutants.py."""

import ast
import itertools
import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

COMPARISONS = {
    ast.Lt: ("<", "<="), ast.LtE: ("<=", "<"), ast.Gt: (">", ">="), ast.GtE: (">=", ">"), ast.Eq: ("==", "!="),
    ast.NotEq: ("!=", "=="), ast.Is: ("is", "is not"), ast.IsNot: ("is not", "is"), ast.In: ("in", "not in"),
    ast.NotIn: ("not in", "in"),
}  # fmt: skip
ARITHMETIC = {
    ast.Add: ("+", "-"), ast.Sub: ("-", "+"), ast.Mult: ("*", "//"), ast.FloorDiv: ("//", "*"), ast.Div: ("/", "*"),
    ast.Mod: ("%", "*"), ast.Pow: ("**", "*"), ast.BitAnd: ("&", "|"), ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"), ast.BitXor: ("^", "|"),
}  # fmt: skip
# What a person is told is changed nowhere: its words are in no contract.
TELLS = re.compile(r"\b(logger|get_logger|logging|progress|warnings|print)\b")
# Of a line with many things to change (a table of numbers), so many at most.
PER_LINE = 2


@dataclass(frozen=True)
class Mutant:
    """A module with one change: in which line, what kind, the lines before and after, and the whole text."""

    line: int
    kind: str
    before: str
    after: str
    text: str


def mutants(path: Path, count: int, seed: int, line: int | None = None) -> list[Mutant]:
    """Return at most `count` mutants of a module, or all of one line; which ones depends on name, text and seed."""
    source = path.read_bytes()
    changes = sorted(set(_Changes(source).of(ast.parse(source))))
    random.Random(f"{seed} {path.stem}").shuffle(changes)
    taken: dict[int, int] = {}
    chosen = []
    for at, kind, start, end, new in changes:
        text = source[:start] + new + source[end:]
        left_out = taken.get(at, 0) == PER_LINE if line is None else at != line
        if left_out or not _is_python(text):
            continue
        taken[at] = taken.get(at, 0) + 1
        first, last = source.rfind(b"\n", 0, start) + 1, source.find(b"\n", end)
        after = source[first:start] + new + source[end:last]
        chosen.append(Mutant(at, kind, source[first:last].decode().strip(), after.decode().strip(), text.decode()))
        if line is None and len(chosen) == count:
            break
    return sorted(chosen, key=lambda each: (each.line, each.kind, each.after))


def _is_python(text: bytes) -> bool:
    try:
        ast.parse(text)
    except (SyntaxError, ValueError):
        return False
    return True


class _Changes:
    """Finds changes as (line, kind, start, end, new bytes) on the syntax tree; all other text stays as it is."""

    def __init__(self, source: bytes):
        self.source = source
        self.starts = [0]
        for line in source.splitlines(keepends=True):
            self.starts.append(self.starts[-1] + len(line))

    def span(self, node: ast.AST) -> tuple[int, int]:
        return self.starts[node.lineno - 1] + node.col_offset, self.starts[node.end_lineno - 1] + node.end_col_offset

    def text(self, node: ast.AST) -> bytes:
        start, end = self.span(node)
        return self.source[start:end]

    def of(self, node: ast.AST) -> Iterator[tuple]:
        """Yield what can be changed in a node and in all below it."""
        call = node.value if isinstance(node, ast.Expr) else node
        if isinstance(call, ast.Call) and TELLS.match(self.text(call.func).decode()):
            return
        for kind, start, end, new in self.here(node):
            if self.source[start:end] != new:
                yield node.lineno, kind, start, end, new
        if isinstance(node, (ast.Raise, ast.JoinedStr)):
            return
        for name, value in ast.iter_fields(node):
            below = value if isinstance(value, list) else [value]
            for each in below:
                if isinstance(each, ast.AST) and name not in ("annotation", "returns"):
                    yield from self.of(each)

    def here(self, node: ast.AST) -> Iterator[tuple]:
        """Yield (kind, start, end, new) of what can be changed in a node itself."""
        match node:
            case ast.Raise() | ast.Continue() | ast.Break() | ast.AugAssign() | ast.Expr(value=ast.Call()):
                yield f"drop {type(node).__name__.lower()}", *self.span(node), b"pass"
            case ast.Assign(targets=[ast.Attribute() | ast.Subscript(), *_]):
                yield "drop assignment", *self.span(node), b"pass"
            case ast.Return(value=ast.expr() as value) if self.text(value) != b"None":
                yield "return None", *self.span(value), b"None"
            case ast.If(test=test) | ast.IfExp(test=test) | ast.While(test=test) if not isinstance(test, ast.Compare):
                yield "negate condition", *self.span(test), b"not (" + self.text(test) + b")"
            case ast.Compare(left=left, ops=operators, comparators=others):
                for operator, one, two in zip(operators, [left, *others], others):
                    yield from self.operator("compare", one, two, *COMPARISONS[type(operator)])
            case ast.BoolOp(op=operator, values=values):
                words = ("and", "or") if isinstance(operator, ast.And) else ("or", "and")
                for one, two in itertools.pairwise(values):
                    yield from self.operator("boolean", one, two, *words)
            case ast.BinOp(left=left, op=ast.BitOr()):
                yield "drop right of |", *self.span(node), self.text(left)
            case ast.BinOp(left=left, op=operator, right=right) if type(operator) in ARITHMETIC:
                if not any(isinstance(each, ast.JoinedStr) or _is_text(each) for each in (left, right)):
                    yield from self.operator("arithmetic", left, right, *ARITHMETIC[type(operator)])
            case ast.UnaryOp(op=ast.Not() | ast.USub() | ast.Invert() as operator, operand=operand):
                yield f"drop {type(operator).__name__}", *self.span(node), self.text(operand)
            case ast.Constant(value=bool() as value):
                yield "boolean constant", *self.span(node), str(not value).encode()
            case ast.Constant(value=int() as value):
                yield "number", *self.span(node), str(value + 1).encode()
            case ast.Constant(value=float() as value):
                yield "number", *self.span(node), repr(round(value * 1.2, 12) if value else 0.1).encode()
            case ast.Subscript(slice=place):
                yield from self.key(place)
            case ast.Slice(lower=lower, upper=upper):
                for bound in filter(None, (lower, upper)):
                    yield "drop bound of slice", *self.span(bound), b""
            case ast.Dict(keys=keys):
                for key in filter(None, keys):
                    yield from self.key(key)
            case ast.Call():
                yield from self.call(node)

    def operator(self, kind: str, left: ast.AST, right: ast.AST, old: str, new: str) -> Iterator[tuple]:
        start, end = self.span(left)[1], self.span(right)[0]
        pattern = re.escape(old).replace(r"\ ", r"\s+")
        found = re.search((rf"\b{pattern}\b" if old[0].isalpha() else pattern).encode(), self.source[start:end])
        if found:
            yield kind, start + found.start(), start + found.end(), new.encode()

    def key(self, node: ast.AST) -> Iterator[tuple]:
        if _is_text(node) and node.value:
            yield "key", *self.span(node), repr(node.value + "_x").encode()

    def call(self, node: ast.Call) -> Iterator[tuple]:
        if self.text(node.func).endswith((b".get", b".pop", b".setdefault")) and node.args:
            yield from self.key(node.args[0])
        in_any_order = self.text(node.func) in (b"min", b"max")
        if len(node.args) > 1 and not in_any_order and not any(isinstance(each, ast.Starred) for each in node.args):
            (start, middle), (after, end) = map(self.span, node.args[:2])
            swapped = self.source[after:end] + self.source[middle:after] + self.source[start:middle]
            yield "swap arguments", start, end, swapped
        for keyword in node.keywords:
            if keyword.arg is None:
                continue
            start, end = self.span(keyword)
            comma = re.match(rb"\s*,", self.source[end:])
            before = re.search(rb",\s*\Z", self.source[:start])
            if comma:
                end += comma.end()
            elif before:
                start = before.start()
            yield f"drop keyword {keyword.arg}", start, end, b""


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)
